"""What repeated runs say: spreads, paired differences with their interval, and quantiles corrected for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

CONFIDENCE = 0.95
EQUAL = 1e-12  # differences closer than this are the same number


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; `sd` is None for one seed."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """One arm minus another over the seeds both have: an estimate for a table, not a claim (see decision).

    Attributes:
        mean: None where no seed is shared.
        low, high: the 95 % t interval; None where there is none, and then `reason` says why.
        p: two-sided p of the paired t test.
        wins, losses: seeds with a difference above and below zero.
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
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """`first` minus `second` (one value per seed) over their shared seeds, with a 95 % t interval.

    Where all differences are zero the interval is [0, 0]; where they all equal another number there is none.
    """
    seeds, left_out = tuple(sorted(set(first) & set(second))), tuple(sorted(set(first) ^ set(second)))
    differences = [first[s] - second[s] for s in seeds]
    n = len(differences)
    if n == 0:
        return Paired(None, None, None, None, 0, None, 0, 0, seeds, left_out, "no seed was run for both")
    mean = fmean(differences)
    wins, losses = sum(d > EQUAL for d in differences), sum(d < -EQUAL for d in differences)
    sd = stdev(differences) if n > 1 else None
    low = high = p = reason = None
    if sd is None:
        reason = "one seed: no interval can be given"
    elif sd < EQUAL and abs(mean) < EQUAL:
        low, high, p = 0.0, 0.0, 1.0
    elif sd < EQUAL:
        reason = f"all {n} differences are equal, so their spread gives no interval"
    else:
        half = t_quantile((1 - CONFIDENCE) / 2, n - 1) * sd / math.sqrt(n)
        low, high = mean - half, mean + half
        p = float(2 * stdtr(n - 1, -abs(mean) / (sd / math.sqrt(n))))
    return Paired(mean, sd, low, high, n, p, wins, losses, seeds, left_out, reason)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values adjusted for their number (Holm 1979): the chance of any false alarm stays below the level."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    floor = 0.0
    for i, name in enumerate(ordered):
        floor = max(floor, min(1.0, p_values[name] * (len(ordered) - i)))
        adjusted[name] = floor
    return {name: adjusted[name] for name in p_values}


@cache
def t_quantile(tail: float, df: int) -> float:
    """The value that Student's t exceeds with probability `tail`."""
    return float(-stdtrit(df, tail))


@cache
def dunnett_quantile(tail: float, df: int, k: int) -> float:
    """The value that the largest of k comparisons with one arm exceeds with probability `tail` (Dunnett 1955, one-sided).

    All arms have the same number of seeds and one pooled variance with `df` degrees of freedom, so that two comparisons
    correlate by 1/2. For k = 1 it is Student's t.
    """
    if k == 1:
        return t_quantile(tail, df)
    z, weights = np.polynomial.hermite_e.hermegauss(64)
    chi2 = 2 * gammaincinv(df / 2, (np.arange(512) + 0.5) / 512)  # its quantiles; scipy.stats takes a second to import
    scale = np.sqrt(2 * chi2 / df)

    def exceeded(value: float) -> float:
        below = ndtr(value * scale[:, None] + z) ** k @ weights / weights.sum()
        return float(1 - below.mean()) - tail

    # Between the quantile of one comparison and Bonferroni's of k.
    return float(brentq(exceeded, t_quantile(tail, df) - 1e-3, t_quantile(tail / k, df) + 1e-3))
