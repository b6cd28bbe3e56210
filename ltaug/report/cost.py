"""What the arms cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ltaug.report.collect import Experiment


@dataclass(frozen=True)
class Cost:
    """Minutes of one unit, "processor" or "GPU", and its parts by name."""

    minutes: float
    unit: str
    parts: Mapping[str, float]


def costs(experiment: Experiment) -> dict[str, Cost | None]:
    """What a seed of every arm costs."""
    return dict.fromkeys(experiment.results)


def seed_cost(experiment: Experiment) -> Cost | None:
    """What one more seed of all arms costs."""
    return None
