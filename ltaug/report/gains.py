"""What an arm gains over the baseline in recall and precision, overall and by group of classes, and what its cost buys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ltaug.report.arms import Scores
from ltaug.report.collect import PRIMARY
from ltaug.report.cost import Cost
from ltaug.report.statistics import Paired

MEASURES = ("recall", "precision")
GROUPS = {"overall": "macro_{}", "many": "{}/many", "medium": "{}/medium", "few": "{}/few"}  # the runs' names of the metrics


@dataclass(frozen=True)
class BeforeAfter:
    """A measure before and after, as means over the seeds that both arms have, and the paired difference between them."""

    before: float
    after: float
    change: Paired


@dataclass(frozen=True)
class Worth:
    """What the cost of an arm buys; None where the cost or the gain is not known.

    Attributes:
        times: its cost as a multiple of the cheapest arm's in the same unit.
        gain: macro recall over the baseline, where both start from the same weights.
        per_hour: `gain` divided by the arm's hours.
    """

    times: float | None
    gain: float | None
    per_hour: float | None


def gains(scores: Scores, arm: str | None) -> dict[str, dict[str, BeforeAfter]]:
    """Group of classes -> measure -> gain of `arm` over the baseline, without what no shared seed has measured."""
    found: dict[str, dict[str, BeforeAfter]] = {}
    if arm is None:
        return found
    for group, pattern in GROUPS.items():
        for measure in MEASURES:
            key = pattern.format(measure)
            change = scores.paired(arm, scores.baseline, key)
            if change.mean is not None:
                before, after = (_mean(scores.values[name][key], change.seeds) for name in (scores.baseline, arm))
                found.setdefault(group, {})[measure] = BeforeAfter(before, after, change)
    return found


def worth(scores: Scores, costs: Mapping[str, Cost | None]) -> dict[str, Worth]:
    """What every arm's cost buys, in the order of the arms."""
    cheapest: dict[str, float] = {}
    for cost in costs.values():
        if cost is not None:
            cheapest[cost.unit] = min(cost.minutes, cheapest.get(cost.unit, math.inf))
    found = {}
    for arm in scores.order:
        cost = costs.get(arm)
        compared = arm != scores.baseline and arm in scores.comparable.values
        gain = scores.paired(arm, scores.baseline, PRIMARY[0]).mean if compared else None
        least = cheapest[cost.unit] if cost is not None else 0.0
        times = cost.minutes / least if cost is not None and least > 0 else None
        per_hour = 60 * gain / cost.minutes if gain is not None and cost is not None and cost.minutes > 0 else None
        found[arm] = Worth(times, gain, per_hour)
    return found


def _mean(values: Mapping[int, float], seeds: tuple[int, ...]) -> float:
    return math.fsum(values[seed] for seed in seeds) / len(seeds)
