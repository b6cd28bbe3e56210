"""What the seeds decide: every claim that a report makes, at error rates that hold for any number of arms and looks.

The rules, their sources and their measured error rates are in docs/verdict.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ltaug.report.arms import Scores
from ltaug.report.statistics import EQUAL, dunnett_quantile, t_quantile

MARGIN = 0.02  # differences in recall below this do not matter: the margin of equivalence and of non-inferiority
LEVEL = 0.0225  # of every look: looks at 3, 5 and 10 seeds together err in at most 5 % of experiments (Pocock 1977)
CLAIM_SEEDS = 5  # with fewer seeds nothing is claimed
POWER = 7.85  # (t.975 + t.80)^2 of many seeds


@dataclass(frozen=True)
class Comparison:
    """One arm minus another in one metric over their shared seeds, as the verdict judges it.

    Attributes:
        mean, n: of the paired differences; mean is None where no seed is shared.
        low, high: the interval that the claim rests on, corrected for the comparisons of its family; None where there is none.
        outcome: better, worse, equivalent (inside the margin) or undecided; promising for what would be better with
            CLAIM_SEEDS seeds; unknown without an interval.
        detectable: the smallest gain that these seeds show with probability .8; None where the spread is unknown.
        seeds_needed: seeds in all that show a gain of the margin's size with probability .8, likewise.
    """

    arm: str
    other: str
    metric: str
    mean: float | None
    n: int
    low: float | None
    high: float | None
    outcome: str
    detectable: float | None
    seeds_needed: int | None

    @property
    def better(self) -> bool:
        return self.outcome == "better"


@dataclass(frozen=True)
class Standing:
    """Where every arm stands against the best one without synthesis, in the first metric of the verdict."""

    metric: str
    reference: str
    against: Mapping[str, Comparison]


class Evidence:
    """Paired differences between arms in one metric, with what all the arms tell about their spread.

    Seeds shift all arms together; what is left after arm and seed means is the arms' own noise, whose variance s2p is
    estimated from G arms other than the baseline: those of the pair's kind where both are of one, else all. Of one kind are the
    arms that are trained as the baseline is (with other images, and their controls), and all others, which augment, adjust or
    are taught and are often calmer. A difference has the variance 2 s2p, with (G-1)(n-1) degrees of freedom; where its own
    variance is larger, that is taken, with 2(n-1). Against the baseline, whose noise is another's (a classifier of the
    imbalanced set), only the difference's own variance counts, with n-1.
    """

    def __init__(self, scores: Scores, metric: str) -> None:
        self._values = {arm: by_metric.get(metric, {}) for arm, by_metric in scores.values.items()}
        self._baseline, self._metric = scores.baseline, metric
        alike = {arm for arm, partner in scores.partners.items() if partner == scores.baseline}
        self._plain = alike | {scores.controls[arm] for arm in alike if arm in scores.controls}
        self._compared, self._pooled_over = cache(self._spread_of), cache(self._pool_of)

    def _pooled(self, arm: str, other: str) -> tuple[float, int] | None:
        """s2p of a pair and its degrees of freedom; None where it has none."""
        if self._baseline in (arm, other):
            return None
        every = frozenset(self._values) - {self._baseline}
        kind = every & self._plain if arm in self._plain else every - self._plain
        return (self._pooled_over(kind) if other in kind else None) or self._pooled_over(every)

    def _pool_of(self, pooled: frozenset[str]) -> tuple[float, int] | None:
        """s2p of these arms and its degrees of freedom, over the seeds that all have; None where that leaves too little."""
        arms = [by_seed for arm, by_seed in self._values.items() if arm in pooled]
        seeds = sorted(set.intersection(*map(set, arms))) if arms else []
        if len(arms) < 3 or len(seeds) < 2:
            return None
        x = np.array([[by_seed[s] for s in seeds] for by_seed in arms])
        left = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0, keepdims=True) + x.mean()
        df = (len(arms) - 1) * (len(seeds) - 1)
        return float((left**2).sum() / df), df

    def _spread_of(self, arm: str, other: str) -> tuple[float | None, int, float, int]:
        """Mean of the differences, their number, the variance of one and its degrees of freedom (0 for fewer than two)."""
        first, second = self._values[arm], self._values[other]
        d = np.array([first[s] - second[s] for s in sorted(set(first) & set(second))])
        n = len(d)
        if n < 2:
            return (float(d[0]) if n else None), n, 0.0, 0
        own = float(d.var(ddof=1))
        variance, df = (own if own > EQUAL**2 else 0.0), n - 1
        if (pooled := self._pooled(arm, other)) is not None:
            shared, shared_df = pooled
            variance, df = (own, 2 * (n - 1)) if own > 2 * shared else (2 * shared, shared_df)
        return float(d.mean()), n, variance, df

    def compare(self, arm: str, other: str, tail: float, k: int = 1, *, chosen_from: int = 1) -> Comparison:
        """`arm` against `other`, where each side errs with probability `tail` over the k comparisons of its family.

        Args:
            chosen_from: how many arms `other` is the best of: by chance it looks nearer to a better arm than it is.
        """
        mean, n, variance, df = self._compared(arm, other)
        at = (arm, other, self._metric)
        if mean is None or df == 0:
            return Comparison(*at, mean, n, None, None, "unknown", None, None)
        if variance == 0:
            return self._without_spread(at, mean, n, tail / k)
        quantile = t_quantile(tail / k, df) if self._pooled(arm, other) is None else dunnett_quantile(tail, df, k)
        error = math.sqrt(variance / n)
        low, high = mean - quantile * error, mean + quantile * error
        outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
        if n < CLAIM_SEEDS:
            outcome = "promising" if outcome == "better" else "undecided"
        elif outcome == "undecided" and abs(mean) + t_quantile(tail / chosen_from, df) * error < MARGIN:
            outcome = "equivalent"  # two one-sided tests (Schuirmann 1987), each at the tail of the family
        detectable = (t_quantile(0.025, df) + t_quantile(0.2, df)) * error
        return Comparison(*at, mean, n, low, high, outcome, detectable, math.ceil(POWER * variance / MARGIN**2))

    def _without_spread(self, at: tuple[str, str, str], mean: float, n: int, tail: float) -> Comparison:
        """Equal differences: no t. If they are not zero, only their signs count: all alike by chance in 1 of 2^n experiments."""
        if abs(mean) < EQUAL:
            return Comparison(*at, 0.0, n, 0.0, 0.0, "equivalent" if n >= CLAIM_SEEDS else "undecided", 0.0, CLAIM_SEEDS)
        sure = n >= CLAIM_SEEDS and 0.5**n <= tail
        outcome = ("better" if mean > 0 else "worse") if sure else "undecided"
        return Comparison(*at, mean, n, None, None, outcome, None, math.ceil(-math.log2(tail)))


@dataclass(frozen=True)
class Gain:
    """What synthetic images do to one arm: against the arm that is trained alike without them, and against its control.

    Where no arm is trained alike without them, the control stands in its place.
    """

    over_partner: Comparison
    over_control: Comparison | None
    second: Comparison | None = None  # over the partner in the second metric, where that may be claimed too

    @property
    def better(self) -> bool:
        """Better than both, so that the gain is not one of class balance."""
        return self.over_partner.better and (self.over_control is None or self.over_control.better)

    @property
    def promising(self) -> bool:
        both = (self.over_partner, self.over_control)
        return all(one is None or one.outcome == "promising" for one in both)


@dataclass(frozen=True)
class Decision:
    """Everything that the seeds decide.

    Attributes:
        gains: of the arms by which synthetic images are judged (`Scores.judged`).
        best: the best arm with synthetic images against the best one without; None where one is missing.
        winner: the arm with synthetic images that is better than every arm without.
        cheaper: the arm without synthetic images that is better than every arm with them.
        hurt: the gains that are losses.
        added: what synthetic images add to arms that are trained in a better way than the baseline.
        rivals: pairs of generators, the better first, with whether they were sampled alike.
        standing: all arms against the best one without synthetic images.
    """

    gains: tuple[Gain, ...]
    best: Comparison | None
    winner: str | None
    cheaper: str | None
    hurt: tuple[Gain, ...]
    added: tuple[Gain, ...]
    rivals: tuple[tuple[Comparison, bool], ...]
    standing: Standing | None

    @property
    def helped(self) -> tuple[Gain, ...]:
        return tuple(gain for gain in self.gains if gain.better)


def decide(scores: Scores) -> Decision:
    """Make every claim, each family at its level, later ones only where the earlier stand (gatekeeping).

    1. Synthetic images help: some of J arms is better than its partner and its control, each at LEVEL/2J, one-sided.
    2. After 1: an arm with them is better than every arm without (Dunnett over the arms with them, LEVEL, one-sided).
    3. After 1: generators against each other, and what images add to better training (Bonferroni, LEVEL/2, two-sided).
    4. An arm without them is better than every arm with them (Dunnett over the arms without, LEVEL/2, one-sided); after that,
       they hurt (as 1).

    A claim "better than every" needs no correction for those it is better than (intersection-union test, Berger 1982). A gain in
    the second metric is claimed only where it is in the first (fixed sequence), at the same level.
    """
    evidence, second = Evidence(scores, scores.primary), Evidence(scores, scores.secondary)
    with_ = [arm for arm in scores.order if arm in scores.synthetic]
    without = [arm for arm in scores.order if arm not in scores.synthetic]
    if scores.best_with is None or scores.best_without is None:
        return Decision((), None, None, None, (), (), (), None)
    judged = scores.judged

    def gain(arm: str, tail: float) -> Gain:
        partner, control = scores.partners.get(arm), scores.controls.get(arm)
        if partner is None:
            partner, control = scores.controls[arm], None
        first, also = (
            Gain(by.compare(arm, partner, tail), by.compare(arm, control, tail) if control else None) for by in (evidence, second)
        )
        return replace(first, second=also.over_partner) if first.better and also.better else first

    gains = tuple(gain(arm, LEVEL / 2 / len(judged)) for arm in judged)
    helped = not judged or any(one.better for one in gains)  # with nothing to compare alike, the second claim stands alone
    winners = [w for w in with_ if helped and all(evidence.compare(w, c, LEVEL, len(with_)).better for c in without)]
    cheaper = [c for c in without if all(evidence.compare(c, w, LEVEL / 2, len(without)).better for w in with_)]
    also = [arm for arm in with_ if arm in scores.partners and arm not in judged]
    pairs = sum(len(group.arms) * (len(group.arms) - 1) // 2 for group in scores.rivals)
    tail = LEVEL / 4 / max(1, len(also) + pairs)
    return Decision(
        gains=gains,
        best=evidence.compare(scores.best_with, scores.best_without, LEVEL, len(with_), chosen_from=len(without)),
        winner=winners[-1] if winners else None,
        cheaper=max(cheaper, key=scores.mean, default=None),
        hurt=tuple(one for one in gains if cheaper and one.over_partner.outcome == "worse"),
        added=tuple(gain(arm, tail) for arm in also) if helped else (),
        rivals=tuple(_rivals(scores, evidence, tail)) if helped else (),
        standing=_standing(scores, evidence, scores.best_without, len(with_)),
    )


def _rivals(scores: Scores, evidence: Evidence, tail: float) -> Sequence[tuple[Comparison, bool]]:
    """The best generator of each group against the others, the nearest first."""
    found = []
    for group in scores.rivals:
        best, *others = sorted(group.arms, key=scores.mean, reverse=True)
        found += [(evidence.compare(best, other, tail), group.sampled_alike) for other in others]
    return found


def _standing(scores: Scores, evidence: Evidence, reference: str, k: int) -> Standing:
    others = [arm for arm in scores.order if arm != reference]
    return Standing(scores.primary, reference, {arm: evidence.compare(arm, reference, LEVEL, k) for arm in others})
