"""Numbers that papers report (published.toml), read and checked."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

from ltaug.errors import OptionError, nearest

FILE = "published.toml"
KINDS = ("generation", "recognition")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where numbers stand in print."""

    title: str
    authors: str
    venue: str
    arxiv: str = ""

    @property
    def short(self) -> str:
        """'Qin et al., CVPR 2023, arXiv 2305.00562'."""
        return ", ".join(part for part in (self.authors, self.venue, f"arXiv {self.arxiv}" if self.arxiv else "") if part)


@dataclass(frozen=True, kw_only=True)
class PublishedData:
    """A dataset as the papers use it.

    Attributes:
        source, imbalance, draw_seed: the options here that give it.
        balanced: another published dataset, the same without the draw, whose rows are listed too; "" for none.
    """

    name: str
    source: str
    imbalance: float
    draw_seed: int
    classes: int
    images: int
    largest: int
    smallest: int
    balanced: str = ""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How numbers came about.

    Attributes:
        kind: one of KINDS.
        expects: what a run records -> the values it may have to be of this protocol.
    """

    kind: str
    about: str
    expects: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One method's numbers.

    Attributes:
        paper, dataset, protocol: keys of `Published`.
        quoted: whether they were copied from other work and not run by who compares with them.
        guidance: strength of classifier-free guidance, where the paper gives it.
    """

    method: str
    paper: str
    dataset: str
    protocol: str
    values: Mapping[str, float]
    quoted: bool = False
    guidance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """The whole file."""

    papers: Mapping[str, Paper]
    datasets: Mapping[str, PublishedData]
    protocols: Mapping[str, Protocol]
    rows: tuple[PublishedRow, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The long-tailed datasets that a report can be compared with."""
        return tuple(name for name, data in self.datasets.items() if data.imbalance > 1)

    def dataset(self, name: str) -> PublishedData:
        """Raises OptionError, with the nearest name, for a dataset nobody published on here."""
        if name not in self.names:
            raise OptionError(f"--published {name!r} is not a dataset with published numbers; {nearest(name, self.names)}")
        return self.datasets[name]

    def about(self, name: str) -> dict[str, tuple[PublishedRow, ...]]:
        """Protocol -> rows on a dataset, those on its balanced form included, in the file's order."""
        wanted = {name, self.datasets[name].balanced} - {""}
        found: dict[str, list[PublishedRow]] = {}
        for row in self.rows:
            if row.dataset in wanted:
                found.setdefault(row.protocol, []).append(row)
        return {protocol: tuple(rows) for protocol, rows in found.items()}


@functools.cache
def published() -> Published:
    """The published numbers that ship with ltaug."""
    return parse((resources.files("ltaug.report") / FILE).read_text(encoding="utf-8"))


def parse(text: str) -> Published:
    """A file in the form of published.toml; ValueError for a key, a kind or a value that cannot be."""
    document = tomllib.loads(text)
    tables = {key: document.pop(key) for key in ("papers", "datasets", "protocols", "rows")}
    if document:
        raise ValueError(f"{FILE}: unknown tables {sorted(document)}")
    found = Published(
        papers={key: _made(Paper, value) for key, value in tables["papers"].items()},
        datasets={key: _made(PublishedData, value) for key, value in tables["datasets"].items()},
        protocols={key: _made(Protocol, {**value, "expects": _any_of(value)}) for key, value in tables["protocols"].items()},
        rows=tuple(_made(PublishedRow, value) for value in tables["rows"]),
    )
    for row in found.rows:
        known = (row.paper in found.papers, row.dataset in found.datasets, row.protocol in found.protocols)
        if not all(known) or not row.values or not all(math.isfinite(v) for v in row.values.values()):
            raise ValueError(f"{FILE}: {row.method!r} names an unknown paper, dataset or protocol, or has no finite values")
    for key, protocol in found.protocols.items():
        if protocol.kind not in KINDS:
            raise ValueError(f"{FILE}: protocol {key!r} is of kind {protocol.kind!r}; there are {KINDS}")
    return found


def _any_of(protocol: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {key: tuple(v) if isinstance(v, list) else (v,) for key, v in protocol["expects"].items()}


def _made(cls: type[T], values: Mapping[str, Any]) -> T:
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{FILE}: {error} in {dict(values)}") from error
