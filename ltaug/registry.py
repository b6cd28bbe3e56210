"""A table of components by name, each imported when it is first used."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltaug.errors import OptionError, nearest


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A component and what must be known of it before it is imported.

    Attributes:
        where: "module:attribute", or the component itself.
        passes: of a regulariser: images through the network for one of the batch, beyond the first, from its settings.
        compares: of a regulariser: it compares the images of a batch with each other, so it needs all of them at once.
        moves_targets: of a target rule: an image's target may come from another image.
        tells_network: of an augmentation: its label, how an image was varied, is given to the network.
        needs_judges: of a selection rule, a start or a regulariser: it asks classifiers trained on the real images.
        balances: of a loss: it takes the class prior out of the logits.
        about: of a form of budgets: how it is written and what it asks for.
        head: of a loss: the last layer that it needs, one of classifier.models.HEADS.
        donors: of a classifier's augmentation: it also takes images that are drawn from every class equally often.
        path: of a source: it is written NAME:PATH, where this says what PATH is.
        suffix: of a source: it is written as a file with this ending.
    """

    where: Any
    passes: Callable[..., float] = lambda **settings: 0.0
    compares: bool = False
    moves_targets: bool = False
    tells_network: bool = False
    needs_judges: bool = False
    balances: bool = False
    about: str = ""
    head: str = "linear"
    donors: bool = False
    path: str = ""
    suffix: str = ""


class Registry(Mapping[str, Any]):
    """Components of one kind by name: `registry[name]` imports the component; errors say that `flag` takes the name."""

    def __init__(self, flag: str, entries: Mapping[str, Any]) -> None:
        self.flag = flag
        self.entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        where = self.about(name).where
        return load(where) if isinstance(where, str) else where

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def about(self, name: str) -> Entry:
        """What is known of a component without importing it."""
        entry = self.entries[name]
        return entry if isinstance(entry, Entry) else Entry(where=entry)

    def find(self, name: str) -> Any:
        """The component of this name; OptionError, with the nearest name, where there is none."""
        if name not in self.entries:
            raise OptionError(f"{self.flag} {name!r} is unknown; {nearest(name, self)}")
        return self[name]


def load(where: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)


def require_extra(package: str, extra: str, what: str) -> None:
    """Raise OptionError where `what` needs a package that is not installed and comes with an extra of ltaug."""
    if importlib.util.find_spec(package) is None:
        raise OptionError(f"{what} needs {package.replace('_', '-')}, which is not installed; pip install 'ltaug[{extra}]'")
