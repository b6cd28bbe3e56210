"""What the arms cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ltaug.report.collect import Experiment
from ltaug.report.evaluations import Evaluation


@dataclass(frozen=True)
class Cost:
    """Minutes of one unit, "processor" or "GPU", and its parts by name."""

    minutes: float
    unit: str
    parts: Mapping[str, float]


def costs(experiment: Experiment) -> dict[str, Cost | None]:
    """What a seed of every arm costs."""
    return dict.fromkeys(experiment.results)


def seed_cost(experiment: Experiment, evaluations: Sequence[Evaluation] = ()) -> Cost | None:
    """What one more seed of all arms costs."""
    return None
