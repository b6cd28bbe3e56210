"""These runs next to published results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ltaug.report.arms import Scores
from ltaug.report.collect import Experiment
from ltaug.report.generators import GeneratorTable
from ltaug.report.protocols import Facts, data_differences, difference, generation_facts, recognition_facts
from ltaug.report.published import Published, PublishedRow, published
from ltaug.report.statistics import Spread
from ltaug.report.wording import setting, several

SCALE = "inception"  # the extractor on whose scale all published values are
COLUMNS = {
    "generation": {"fid": "FID ↓", "inception_score": "IS ↑", "f8": "F8 ↑", "recall": "Recall ↑", "f1_8": "F1/8 ↑"},
    "recognition": {"macro_precision": "Macro precision", "macro_recall": "Macro recall"},
}


@dataclass(frozen=True)
class BesideRow:
    """One method: ours has a spread over seeds, a published one its value alone."""

    name: str
    source: str
    guidance: float | None
    values: Mapping[str, Spread]


@dataclass(frozen=True)
class BesideGroup:
    """Rows of one protocol; `differences` says how these runs differ from it (empty for these runs themselves)."""

    ours: bool
    about: str
    rows: tuple[BesideRow, ...]
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class BesideTable:
    """Groups whose values are on one scale."""

    title: str
    columns: Mapping[str, str]
    groups: tuple[BesideGroup, ...]


@dataclass(frozen=True)
class Beside:
    """These runs next to what was published on a dataset; `data` says how the data differ, empty where they do not."""

    dataset: str
    name: str
    data: tuple[str, ...]
    tables: tuple[BesideTable, ...]


def beside(name: str, experiment: Experiment, scores: Scores, tables: Sequence[GeneratorTable]) -> Beside:
    """Own rows and published ones.

    Args:
        name: a dataset of published.toml.
        tables: what was measured of the generators; may be empty.

    Raises:
        OptionError: no such dataset; the nearest is suggested.
    """
    book = published()
    data = book.dataset(name)
    measured = {f"{t.terms['extractor']} features against {t.terms['reference']}": generation_facts(t) for t in tables}
    found: list[BesideTable] = []
    for table in tables:
        if table.terms["extractor"] != SCALE:
            title = f"Generated images of these runs, in {table.terms['extractor']} features: not on the published scale"
            found.append(_table(title, "generation", [_own_generators(table)]))
    if tables:
        own = [_own_generators(table) for table in tables if table.terms["extractor"] == SCALE]
        found.append(_table("Generated images, in Inception features", "generation", own + _groups(name, "generation", measured)))
    trained = {"": recognition_facts(experiment)}
    groups = [_own_arms(experiment, scores), *_groups(name, "recognition", trained)]
    if len(groups) > 1:
        found.append(_table("Classifiers", "recognition", groups))
    return Beside(name, data.name, data_differences(experiment, data), tuple(found))


def _table(title: str, kind: str, groups: Sequence[BesideGroup]) -> BesideTable:
    used = {key for group in groups for row in group.rows for key in row.values}
    return BesideTable(title, {k: heading for k, heading in COLUMNS[kind].items() if k in used}, tuple(groups))


def _groups(name: str, kind: str, facts: Mapping[str, Facts]) -> list[BesideGroup]:
    """The published groups of a kind, each with its differences from every set of `facts` (by what to call it)."""
    book = published()
    groups = []
    for key, rows in book.about(name).items():
        protocol = book.protocols[key]
        if protocol.kind == kind:
            said = tuple(difference(label, own, protocol.expects) for label, own in facts.items())
            groups.append(BesideGroup(False, protocol.about, tuple(_published_row(book, row) for row in rows), said))
    return groups


def _published_row(book: Published, row: PublishedRow) -> BesideRow:
    paper = book.papers[row.paper]
    balanced = f"; {book.datasets[row.dataset].name}" if book.datasets[row.dataset].imbalance == 1 else ""
    source = f"{paper.short}{'; quoted' if row.quoted else ''}{balanced}"
    return BesideRow(row.method, source, row.guidance, {key: Spread(value, None, 1) for key, value in row.values.items()})


def _own_generators(table: GeneratorTable) -> BesideGroup:
    columns = COLUMNS["generation"]
    rows = [
        BesideRow(row.name, "these runs", row.sampling.get("guidance"), {k: v for k, v in row.summary.items() if k in columns})
        for row in table.rows
    ]
    return BesideGroup(True, table.about, tuple(rows))


def _own_arms(experiment: Experiment, scores: Scores) -> BesideGroup:
    rows = []
    for arm in scores.order:
        spreads = {key: scores.spread(arm, key) for key in COLUMNS["recognition"]}
        values = {key: value for key, value in spreads.items() if value is not None}
        rows.append(BesideRow(arm, "these runs", None, values))
    models = several([setting(m) for m in recognition_facts(experiment)["model"]])
    return BesideGroup(True, f"{models}. Mean ± standard deviation over seeds.", tuple(rows))
