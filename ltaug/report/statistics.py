"""What repeated runs say: spreads, paired differences with their interval, and the price of many comparisons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95
PERMUTATION_LIMIT = 12  # seeds up to which all 2^n sign flips are counted
_EQUAL = 1e-12


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; `sd` is None for one seed."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """One arm minus another over the seeds both have.

    Attributes:
        mean: None where no seed is shared.
        low, high: the 95 % t interval; None where there is none, and then `reason` says why.
        p: two-sided p of the paired t test.
        wins, losses: seeds with a difference above and below zero.
        permutation_p: exact two-sided p over all flips of the differences' signs; None beyond PERMUTATION_LIMIT seeds.
        seeds, left_out: the seeds that count, and those that only one of the two has.
    """

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None
    wins: int
    losses: int
    permutation_p: float | None
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    reason: str | None

    @property
    def outcome(self) -> str:
        """'up' or 'down' where the interval excludes zero, 'tie' where it does not, 'unknown' without an interval."""
        if self.low is None or self.high is None:
            return "unknown"
        return "up" if self.low > 0 else "down" if self.high < 0 else "tie"


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1) of at least one value."""
    assert values, "a spread needs a value"
    return Spread(math.fsum(values) / len(values), _sd(values) if len(values) > 1 else None, len(values))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """`first` minus `second` (one value per seed) over their shared seeds, with a 95 % t interval."""
    seeds, left_out = tuple(sorted(set(first) & set(second))), tuple(sorted(set(first) ^ set(second)))
    differences = [first[s] - second[s] for s in seeds]
    n = len(differences)
    if n == 0:
        return Paired(None, None, None, None, 0, None, 0, 0, None, seeds, left_out, "no seed was run for both")
    mean = math.fsum(differences) / n
    wins, losses = sum(d > _EQUAL for d in differences), sum(d < -_EQUAL for d in differences)
    sd = _sd(differences) if n > 1 else None
    low = high = p = reason = None
    if sd is None:
        reason = "one seed: no interval can be given"
    elif sd < _EQUAL:
        reason = f"all {n} differences are equal, so their spread gives no interval"
    else:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
        low, high = mean - half, mean + half
        p = float(2 * stats.t.sf(abs(mean) / (sd / math.sqrt(n)), n - 1))
    return Paired(mean, sd, low, high, n, p, wins, losses, permutation_p(differences), seeds, left_out, reason)


def permutation_p(differences: Sequence[float]) -> float | None:
    """Share of all sign flips whose mean is at least as far from zero; None where there are too many to count.

    With n seeds it cannot be smaller than 2 / 2^n, however large and regular the differences are.
    """
    n = len(differences)
    if not 0 < n <= PERMUTATION_LIMIT:
        return None
    observed = abs(math.fsum(differences)) - _EQUAL
    flips = itertools.product((1, -1), repeat=n)
    totals = (abs(math.fsum(sign * d for sign, d in zip(signs, differences, strict=True))) for signs in flips)
    return float(sum(total >= observed for total in totals) / 2**n)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values adjusted for their number (Holm 1979): the chance of any false alarm stays below the level."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    floor = 0.0
    for i, name in enumerate(ordered):
        floor = max(floor, min(1.0, p_values[name] * (len(ordered) - i)))
        adjusted[name] = floor
    return {name: adjusted[name] for name in p_values}


def _sd(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
