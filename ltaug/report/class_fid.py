"""FID class by class, lined up by how frequent the classes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ltaug.data.groups import by_frequency
from ltaug.metrics.classes import moving_average
from ltaug.report.evaluations import Evaluation


@dataclass(frozen=True)
class ClassCurve:
    """FID of each class, moving average over 5 neighbours in frequency, mean over seeds, most frequent first."""

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
        curves = [moving_average(_ranked(one)) for one in by_seed.values() if one.metrics["per_class"].get("class_fid")]
        if curves:
            known = [[value for value in at_rank if value is not None] for at_rank in zip(*curves, strict=True)]
            series[name] = tuple(float(np.mean(values)) if values else None for values in known)
    if not any(value is not None for values in series.values() for value in values):
        return None
    names = every[0].metrics["class_names"]
    labels = [str(names[c]) for c in by_frequency(every[0].class_counts)] if same else [str(i + 1) for i in range(k)]
    return ClassCurve("class" if same else "rank", tuple(labels), series)


def _ranked(one: Evaluation) -> list[float | None]:
    values = one.metrics["per_class"]["class_fid"]
    return [values[c] for c in by_frequency(one.class_counts)]
