"""How good the generated images are by themselves: one table for each extractor and reference, one row a generator."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltaug.metrics.measures import MEASURES, Measure, Place, shown_in
from ltaug.options import EVERYWHERE
from ltaug.records import PAIRS_SHEET
from ltaug.report.classes import ClassCurve, class_curve
from ltaug.report.collect import Experiment
from ltaug.report.evaluations import Evaluation, comparable, names_of, remarks, users
from ltaug.report.statistics import Paired, Spread, paired, spread
from ltaug.report.wording import setting, spread_text

PANELS: tuple[tuple[str, Place], ...] = (("All classes", "report"), ("Few-shot classes", "report/few"))
REFERENCE_METHOD = "ddpm"
ANOTHER_SCALE = (
    "The extractor's weights or the reference images are not those of the table above (their SHA-256 differ), so the two "
    "cannot be compared; give both evaluations the same --extractor classifier:RUN and --reference."
)


@dataclass(frozen=True)
class GeneratorRow:
    """One generator over its seeds, by measure: mean and spread, why no seed has it, and the difference from `compared_with`.

    `arms` are those that use it, or its label where none does; `against` is empty for the row that others are compared with.
    """

    name: str
    arms: tuple[str, ...]
    sampling: Mapping[str, Any]
    seeds: tuple[int, ...]
    summary: Mapping[str, Spread]
    missing: Mapping[str, str]
    against: Mapping[str, Paired]


@dataclass(frozen=True)
class ClosestPairs:
    """The generated images nearest to a training image: a picture as data URI, of one generator's first seed."""

    name: str
    seed: int
    picture: str


@dataclass(frozen=True)
class GeneratorTable:
    """Generators measured on the same terms.

    Attributes:
        terms: dataset, extractor, reference, samples, neighbours and clusters, which all rows share.
        extractors, references: seed -> SHA-256.
        reference_images: images in the reference, each number that occurs.
        sampling: what all rows share of how images were sampled.
        compared_with: the row that the others are compared with.
    """

    terms: Mapping[str, Any]
    extractors: Mapping[int, str]
    references: Mapping[int, str]
    reference_images: tuple[int, ...]
    sampling: Mapping[str, Any]
    rows: tuple[GeneratorRow, ...]
    compared_with: str
    notes: tuple[str, ...]
    curve: ClassCurve | None
    closest: ClosestPairs | None

    @property
    def title(self) -> str:
        return f"{self.terms['extractor']} features against {self._reference}"

    @property
    def _reference(self) -> str:
        known = {"balanced": "the balanced set", "train": "the training images", "test": "the test images"}
        return known.get(self.terms["reference"], str(self.terms["reference"]))

    @property
    def about(self) -> str:
        """The terms in one sentence."""
        images = " to ".join(f"{n:,}" for n in dict.fromkeys((self.reference_images[0], self.reference_images[-1])))
        told = {key: value for key, value in self.sampling.items() if value not in (None, list(EVERYWHERE))}
        how = [f"{key.replace('_', ' ')} {setting(value)}" for key, value in told.items()]
        drawn = f"; {', '.join(how)}" if how else ""
        nearest = f", k = {self.terms['neighbours']}" if self.terms.get("neighbours") else ""
        spreads = " Mean ± standard deviation over seeds." if any(len(row.seeds) > 1 for row in self.rows) else ""
        return (
            f"{self.terms['samples']:,} generated images against {images} of {self._reference}, "
            f"in {self.terms['extractor']} features{nearest}{drawn}.{spreads}"
        )

    @property
    def panels(self) -> list[tuple[str, dict[str, Measure], dict[str, Measure]]]:
        """(over which classes, measures, those of them with paired differences), without measures that no row has."""
        found = []
        for name, place in PANELS:
            shown = self._present(shown_in(place))
            differ = {k: m for k, m in shown.items() if "compared" in m.shown and any(k in row.against for row in self.rows)}
            found += [(name, shown, differ)] if shown else []
        return found

    @property
    def brief(self) -> tuple[list[str], list[list[str]]]:
        """Headings and cells for a terminal."""
        return self.text(self._present(shown_in("brief") | shown_in("brief/few")))

    def text(self, measures: Mapping[str, Measure]) -> tuple[list[str], list[list[str]]]:
        """Headings and cells of these measures as text."""
        names = [f"few-shot {m.column}" if key.endswith("/few") else m.heading for key, m in measures.items()]
        rows = [
            [row.name, str(len(row.seeds)), *(spread_text(row.summary.get(key), self.digits(key)) for key in measures)]
            for row in self.rows
        ]
        return ["generator", "seeds", *names], rows

    def _present(self, measures: Mapping[str, Measure]) -> dict[str, Measure]:
        return {k: m for k, m in measures.items() if any(k in row.summary or k in row.missing for row in self.rows)}

    def digits(self, key: str) -> int:
        """Digits after the point: the measure's own, or as many as show three figures of the smallest mean (2 to 6)."""
        own = MEASURES[key.partition("/")[0]].digits
        if own is not None:
            return own
        means = [abs(row.summary[key].mean) for row in self.rows if key in row.summary]
        smallest = min((m for m in means if m > 0), default=1.0)
        return min(6, max(2, 2 - int(np.floor(np.log10(smallest)))))


def generator_tables(
    evaluations: Sequence[Evaluation], experiment: Experiment, *, order: Sequence[str], featured: str | None
) -> tuple[GeneratorTable, ...]:
    """Every evaluation in a table of what it may be compared with.

    Args:
        order: arms in the order in which they are listed.
        featured: the arm whose generator is looked at more closely.

    Raises:
        MismatchError: the same generator was evaluated twice on the same terms.
    """
    arms = users(experiment)
    tables: list[GeneratorTable] = []
    for group in comparable(evaluations, arms):
        table = _table(group, arms, order, featured)
        known = any(table.terms == earlier.terms for earlier in tables)
        tables.append(dataclasses.replace(table, notes=(*table.notes, ANOTHER_SCALE)) if known else table)
    return tuple(tables)


def _table(
    group: Sequence[Evaluation], arms: Mapping[str, tuple[str, ...]], order: Sequence[str], featured: str | None
) -> GeneratorTable:
    shared = {key: value for key, value in group[0].sampling.items() if all(e.sampling[key] == value for e in group)}
    by_row: dict[str, dict[int, Evaluation]] = {}
    used_by: dict[str, tuple[str, ...]] = {}
    for one in group:
        own = [f"{key.replace('_', ' ')} {setting(value)}" for key, value in one.sampling.items() if key not in shared]
        name = ", ".join(names_of(one, arms)) + (f" ({', '.join(own)})" if own else "")
        by_row.setdefault(name, {})[one.seed] = one
        used_by[name] = names_of(one, arms)
    place = {arm: i for i, arm in enumerate(order)}
    names = sorted(by_row, key=lambda name: min(place.get(arm, len(place)) for arm in used_by[name]))
    first = next((name for name in names if REFERENCE_METHOD in used_by[name]), names[0])
    others = [name for name in names if name != first]
    watched = next((name for name in names if featured in used_by[name]), (others or names)[0])
    explained = [m.about for key, m in shown_in("report").items() if m.about and any(key in e.metrics["summary"] for e in group)]
    return GeneratorTable(
        terms=group[0].terms,
        extractors={e.seed: str(e.provenance.get("extractor_digest")) for e in group},
        references={e.seed: str(e.provenance.get("reference_digest")) for e in group},
        reference_images=tuple(sorted({int(e.provenance["reference_images"]) for e in group})),
        sampling=shared,
        rows=tuple(_row(name, used_by[name], by_row[name], by_row[first] if name != first else None) for name in names),
        compared_with=first,
        notes=(*remarks(by_row), *explained),
        curve=class_curve({name: by_row[name] for name in [first, *([watched] if watched in others else others[:1])]}),
        closest=_closest(watched, by_row[watched]),
    )


def _row(
    name: str, arms: tuple[str, ...], by_seed: Mapping[int, Evaluation], first: Mapping[int, Evaluation] | None
) -> GeneratorRow:
    own, other = _by_measure(by_seed), _by_measure(first or {})
    return GeneratorRow(
        name=name,
        arms=arms,
        sampling=by_seed[min(by_seed)].sampling,
        seeds=tuple(sorted(by_seed)),
        summary={key: spread(list(values.values())) for key, values in own.items()},
        missing={key: reason for e in by_seed.values() for key, reason in e.reasons.items() if key not in own},
        against={key: paired(values, other[key]) for key, values in own.items() if key in other},
    )


def _by_measure(by_seed: Mapping[int, Evaluation]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for seed, one in sorted(by_seed.items()):
        for key, value in one.values.items():
            found.setdefault(key, {})[seed] = value
    return found


def _closest(name: str, by_seed: Mapping[int, Evaluation]) -> ClosestPairs | None:
    seed = min(by_seed)
    path = by_seed[seed].path / PAIRS_SHEET
    if not path.is_file():
        return None
    return ClosestPairs(name, seed, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}")
