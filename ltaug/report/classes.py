"""What happens to each class, in the order of class frequency: counts, recall, FID; and the change in confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltaug.data.groups import by_frequency
from ltaug.metrics.classes import moving_average
from ltaug.report.collect import Experiment, Result
from ltaug.report.evaluations import Evaluation
from ltaug.report.statistics import Paired, paired

Floats = npt.NDArray[np.float64]
COMPARED = ("recall", "precision")
Orders = Mapping[int, Sequence[int]]  # seed -> classes, most frequent first


@dataclass(frozen=True)
class ClassTable:
    """One row a class, most frequent first.

    Where the seeds draw different classes as the tail, a row is a frequency rank (the most frequent class of each
    seed, and so on), since a class name then means head in one seed and tail in another.

    Attributes:
        by: "class" or "rank".
        counts: real training images, mean over seeds.
        groups: many, medium or few; "" where the runs do not say.
        synthetic_counts: for each arm with synthetic images, their number, mean over seeds.
        measures: measure -> arm -> mean over seeds per row (None where nothing could be measured).
        changes: recall and precision -> arm -> paired difference against the baseline per row.
    """

    by: str
    labels: tuple[str, ...]
    counts: tuple[float, ...]
    groups: tuple[str, ...]
    synthetic_counts: Mapping[str, tuple[float, ...]]
    measures: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    changes: Mapping[str, Mapping[str, tuple[Paired, ...]]]

    def row_name(self, row: int) -> str:
        """The row in a sentence: class 'cat' (25 images), or rank 4 (25 images)."""
        name = f"rank {self.labels[row]}" if self.by == "rank" else f"class {self.labels[row]!r}"
        return f"{name} ({self.counts[row]:.0f} real image{'' if round(self.counts[row]) == 1 else 's'})"


@dataclass(frozen=True)
class ConfusionChange:
    """Share of a true class (row) read as each class, `arm` minus `other`, mean over shared seeds, by class name."""

    arm: str
    other: str
    seeds: tuple[int, ...]
    class_names: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ClassCurve:
    """FID of each class, moving average over 5 neighbours in frequency, mean over seeds, most frequent first."""

    by: str
    labels: tuple[str, ...]
    series: Mapping[str, tuple[float | None, ...]]


def class_table(experiment: Experiment) -> ClassTable:
    """Counts and per-class measures of every arm, lined up by frequency."""
    orders = {result.seed: by_frequency(result.record.class_counts) for result in experiment.runs}
    same = len({r.record.class_counts for r in experiment.runs}) == 1
    first = experiment.runs[0]
    labels = [experiment.class_names[k] if same else str(i + 1) for i, k in enumerate(orders[first.seed])]
    one_per_seed = list({r.seed: r for r in experiment.runs}.values())
    counts = np.mean([np.array(r.record.class_counts, float)[orders[r.seed]] for r in one_per_seed], axis=0)
    synthetic: dict[str, tuple[float, ...]] = {}
    measures: dict[str, dict[str, tuple[float | None, ...]]] = {}
    seen: dict[str, dict[str, list[dict[int, float]]]] = {measure: {} for measure in COMPARED}
    for arm, by_seed in experiment.results.items():
        added = [(orders[seed], result.record.synthetic_counts) for seed, result in by_seed.items()]
        made = [np.array(counts, float)[order] for order, counts in added if counts is not None]
        if made:
            synthetic[arm] = tuple(float(v) for v in np.mean(made, axis=0))
        for measure in by_seed[min(by_seed)].metrics["per_class"]:
            rows = _rows(by_seed, orders, measure, len(labels))
            measures.setdefault(measure, {})[arm] = tuple(sum(r.values()) / len(r) if r else None for r in rows)
            if measure in seen:
                seen[measure][arm] = rows
    changes = {
        measure: {arm: tuple(map(paired, rows, base)) for arm, rows in by_arm.items() if arm != experiment.baseline}
        for measure, by_arm in seen.items()
        if (base := by_arm.get(experiment.baseline)) is not None
    }
    members = first.record.groups or first.metrics.get("groups") or {}
    group_of = {k: name for name, classes in members.items() for k in classes}
    groups = tuple(group_of.get(k, "") for k in orders[first.seed])
    return ClassTable("class" if same else "rank", tuple(labels), tuple(map(float, counts)), groups, synthetic, measures, changes)


def confusion_change(experiment: Experiment, arm: str, other: str) -> ConfusionChange | None:
    """How `arm` reads each true class differently from `other`; None where they share no seed."""
    seeds = tuple(sorted(set(experiment.results[arm]) & set(experiment.results[other])))
    if not seeds:
        return None
    runs, others = experiment.results[arm], experiment.results[other]
    matrix = np.mean([_shares(runs[s]) - _shares(others[s]) for s in seeds], axis=0)
    return ConfusionChange(arm, other, seeds, experiment.class_names, tuple(tuple(float(v) for v in row) for row in matrix))


def _shares(result: Result) -> Floats:
    confusion = np.array(result.metrics["confusion"], float)
    return np.asarray(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1))


def _rows(by_seed: Mapping[int, Result], orders: Orders, measure: str, n: int) -> list[dict[int, float]]:
    rows: list[dict[int, float]] = [{} for _ in range(n)]
    for seed, result in sorted(by_seed.items()):
        values, missing = result.metrics["per_class"].get(measure, [None] * n), untested(result)
        for row, k in enumerate(orders[seed]):
            if values[k] is not None and k not in missing:
                rows[row][seed] = float(values[k])
    return rows


def untested(result: Result) -> list[int]:
    """The classes without a test image, of which a run nevertheless records recall 0."""
    return [k for k, images in enumerate(result.metrics["per_class"].get("support", ())) if images == 0]


def class_curve(by_row: Mapping[str, Mapping[int, Evaluation]]) -> ClassCurve | None:
    """Per-class FID of evaluations (row -> seed -> evaluation), lined up by frequency; None where no run has it."""
    every = [one.metrics for by_seed in by_row.values() for one in by_seed.values()]
    same = len({tuple(metrics["class_counts"]) for metrics in every}) == 1
    series: dict[str, tuple[float | None, ...]] = {}
    for name, by_seed in by_row.items():
        known = [one.metrics for one in by_seed.values() if one.metrics["per_class"].get("class_fid")]
        ranked = [[m["per_class"]["class_fid"][c] for c in by_frequency(m["class_counts"])] for m in known]
        if ranked:
            columns = zip(*map(moving_average, ranked), strict=True)
            values = [[value for value in at_rank if value is not None] for at_rank in columns]
            series[name] = tuple(float(np.mean(of_seeds)) if of_seeds else None for of_seeds in values)
    if not any(value is not None for values in series.values() for value in values):
        return None
    order, names = by_frequency(every[0]["class_counts"]), every[0]["class_names"]
    labels = [str(names[c]) if same else str(rank) for rank, c in enumerate(order, 1)]
    return ClassCurve("class" if same else "rank", tuple(labels), series)
