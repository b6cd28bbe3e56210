"""FID class by class, lined up by how frequent the classes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ltaug.report.evaluations import Evaluation

SMOOTHED = 5  # classes a per-class value is averaged over, as in the papers' figures


@dataclass(frozen=True)
class ClassCurve:
    """FID of each class, moving average over SMOOTHED neighbours in frequency, mean over seeds, most frequent first."""

    by: str
    labels: tuple[str, ...]
    series: Mapping[str, tuple[float | None, ...]]


def class_curve(by_row: Mapping[str, Mapping[int, Evaluation]]) -> ClassCurve | None:
    """Per-class FID lined up by frequency; None where no run has it."""
    every = [one for by_seed in by_row.values() for one in by_seed.values()]
    same = len({tuple(one.class_counts) for one in every}) == 1
    k = len(every[0].class_counts)
    series: dict[str, tuple[float | None, ...]] = {}
    for name, by_seed in by_row.items():
        curves = [_smooth(_ranked(one)) for one in by_seed.values() if one.metrics["per_class"].get("class_fid")]
        if curves:
            known = [[c[i] for c in curves if not np.isnan(c[i])] for i in range(k)]
            series[name] = tuple(float(np.mean(v)) if v else None for v in known)
    if not any(value is not None for values in series.values() for value in values):
        return None
    names = every[0].metrics["class_names"]
    labels = [str(names[c]) for c in _by_frequency(every[0])] if same else [str(i + 1) for i in range(k)]
    return ClassCurve("class" if same else "rank", tuple(labels), series)


def _by_frequency(one: Evaluation) -> list[int]:
    return [int(c) for c in np.argsort(-np.array(one.class_counts), kind="stable")]


def _ranked(one: Evaluation) -> list[float]:
    values = one.metrics["per_class"]["class_fid"]
    return [float("nan") if values[c] is None else float(values[c]) for c in _by_frequency(one)]


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean over a class and its neighbours in frequency, as far as they have a value; NaN where none has."""
    reach = SMOOTHED // 2
    windows = ([v for v in values[max(0, i - reach) : i + reach + 1] if not np.isnan(v)] for i in range(len(values)))
    return [float(np.mean(window)) if window else float("nan") for window in windows]
