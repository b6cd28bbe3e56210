"""What the seeds decide: every claim that a report makes, at error rates that hold however many arms and looks there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARGIN = 0.02  # differences in recall below this do not matter: the equivalence margin
LOOKS = (3, 5, 10)  # numbers of seeds at which a verdict is looked at
LEVEL = 0.0225  # two-sided, of every look, so that all of them together err in at most 5 % of experiments
CLAIM_SEEDS = 5  # with fewer seeds nothing is claimed


@dataclass(frozen=True)
class Comparison:
    """One arm minus another in one metric over their shared seeds, as the verdict judges it.

    Attributes:
        mean, n: of the paired differences; mean is None where no seed is shared.
        low, high: the interval that the claim rests on (`level`, two-sided, corrected for the comparisons of its family); None
            where there is none (one seed).
        outcome: better, worse, equivalent (inside the margin), undecided; promising for what would be better with more seeds;
            unknown without an interval.
        detectable: the smallest gain that these seeds would have shown with power .8.
        seeds_needed: seeds in all after which a gain of the margin's size would show; None where the spread is unknown.
    """

    arm: str
    other: str
    metric: str
    mean: float | None
    n: int
    low: float | None
    high: float | None
    level: float
    outcome: str
    detectable: float | None
    seeds_needed: int | None


@dataclass(frozen=True)
class Recommendation:
    """What to do next, in one line; `action` is use, without (do not synthesize), more (seeds) or none (nothing to decide)."""

    action: str
    text: str
    arm: str | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Standing:
    """Where every arm stands against the best one without synthesis, in macro recall."""

    reference: str
    against: Mapping[str, Comparison]
