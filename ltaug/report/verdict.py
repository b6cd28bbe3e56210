"""The verdict in words: what to do, did synthetic images help, who pays for it, and how sure is that?

Nothing is claimed here that decision.decide or harm_of does not claim; everything else is an estimate with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ltaug.looks import LOOKS
from ltaug.report.arms import Scores
from ltaug.report.cost import Cost
from ltaug.report.decision import CLAIM_SEEDS, MARGIN, Comparison, Decision, Gain, Standing, decide
from ltaug.report.findings import Finding, change_text, findings, word
from ltaug.report.gates import Gate
from ltaug.report.harm import Harm, harm_of
from ltaug.report.statistics import Paired
from ltaug.report.wording import cost_text, plain, several

PRACTICAL_SEEDS = 20  # no more than these are advised
WORTH_SAYING = 1.5  # times the cost, from which on a price is said


@dataclass(frozen=True)
class Recommendation:
    """What to do, in one line; `action` is use, without (do not synthesize), more (seeds) or none (nothing to decide)."""

    action: str
    text: str
    arm: str | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What to do, the headline and its findings.

    Attributes:
        outcome: helped; balance (better than real images alone, not shown to be better than real images resampled to the same
            class counts); hurt; equivalent; promising; undecided; none (nothing to compare, or test images leaked).
        decision, harm: what is claimed; None where the outcome is none.
        decided: whether more seeds would be of no use.
        seeds_needed: seeds in all after which it could be decided; None where it is, or that is unknown.
    """

    outcome: str
    headline: str
    recommendation: Recommendation
    points: tuple[Finding, ...]
    decision: Decision | None = None
    harm: Harm | None = None
    decided: bool = True
    seeds_needed: int | None = None

    @property
    def standing(self) -> Standing | None:
        """Every arm against the best one without synthetic images."""
        return None if self.decision is None else self.decision.standing


def verdict(
    scores: Scores,
    changes: Mapping[str, Mapping[str, Paired]] | None = None,
    *,
    gates: Sequence[Gate] = (),
    costs: Mapping[str, Cost | None] | None = None,
    seed_cost: Cost | None = None,
) -> Verdict:
    """Judge an experiment: the arms whose classifiers start from the same weights as the baseline's (`Scores.comparable`).

    Args:
        changes: arm -> class -> change of its recall against the baseline.
        gates: what was found wrong with the images; one that stops leaves no verdict.
        costs, seed_cost: what a seed of each arm, and of all arms together, takes.
    """
    stopped = next((gate for gate in gates if gate.outcome == "stop"), None)
    if stopped is not None:
        return _nothing(f"No verdict: {stopped.text}")
    if scores.baseline in scores.synthetic:
        return _nothing("The baseline itself uses synthetic images, so this report cannot say whether they help.")
    made, scores = scores.synthetic, scores.comparable
    featured = scores.featured
    if featured is None and made:
        start = f"{several(sorted(made))} {'starts' if len(made) == 1 else 'start'} from other weights than {scores.baseline}"
        return _nothing(f"{start}, so what synthetic images gain cannot be told; it takes an arm without them that starts alike.")
    if featured is None:
        return _nothing("No arm used synthetic images, so this report only compares ways to train on real ones.")
    found = decide(scores)
    best = found.best
    assert best is not None, "there are arms with and without synthetic images"
    decided = bool(found.winner or found.cheaper or best.outcome == "equivalent")
    needed = None if decided else _seeds_needed(best)
    shown = found.winner or featured
    harm = harm_of(scores, shown, (changes or {}).get(shown, {}))
    told = _told(found, featured)
    outcome, said = _answer(found, told)
    said = f"For this draw and generator, {said}" if scores.fixed_draw else said[0].upper() + said[1:]
    copied = [gate.text for gate in gates if gate.kind == "copies" and gate.outcome == "warn" and shown in gate.arms]
    return Verdict(
        outcome,
        " ".join([f"{said}{_against_the_best(scores, found, told)}{harm.clause}.", *copied]),
        _recommendation(found, best, needed, costs or {}, seed_cost),
        tuple(findings(scores, found, harm)),
        found,
        harm,
        decided,
        needed,
    )


def _seeds_needed(best: Comparison) -> int:
    """Seeds in all that show the difference seen between the best arms, or one of the margin if that is larger.

    Spreads of fewer seeds than a claim takes say little, so that at first it is these. Up to PRACTICAL_SEEDS it is the next look
    that the error rates are made for.
    """
    if best.n < CLAIM_SEEDS or best.seeds_needed is None:
        return CLAIM_SEEDS
    seen = max(abs(best.mean or 0.0), MARGIN)
    needed = max(math.ceil(best.seeds_needed * (MARGIN / seen) ** 2), best.n + 1)
    return next((look for look in (*LOOKS, PRACTICAL_SEEDS) if look >= needed), needed)


def _nothing(headline: str) -> Verdict:
    return Verdict("none", headline, Recommendation("none", headline), ())


def _told(found: Decision, featured: str) -> Gain | None:
    """The gain that the headline is about: the largest that is claimed, the largest loss, or that of the featured arm."""
    if found.hurt and not found.helped:
        return min(found.hurt, key=_size)
    gained = [gain for gain in found.gains if gain.over_partner.better]
    claimed = found.helped or gained or [gain for gain in found.gains if gain.promising]
    if claimed:
        return max(claimed, key=_size)
    return next((gain for gain in found.gains if gain.over_partner.arm == featured), found.gains[-1] if found.gains else None)


def _answer(found: Decision, told: Gain | None) -> tuple[str, str]:
    """The outcome and its sentence, without what follows on the best arms."""
    if told is None:
        outcome = "helped" if found.winner else "undecided"
        return outcome, "no two arms differ in their synthetic images alone, so what the images add by themselves is open"
    over, control = told.over_partner, told.over_control
    if told.better:
        also = f" and {change_text(told.second)}" if told.second else ""
        return "helped", f"synthetic images help: {over.arm} gains {change_text(over)}{also} over {over.other}"
    if told in found.hurt:
        return "hurt", f"synthetic images hurt: {over.arm} changes {change_text(over)} against {over.other}"
    if over.better:
        assert control is not None, "what is better than its partner and did not help has a control"
        return "balance", (
            f"synthetic images are not shown to help beyond class balance: {over.arm} gains {change_text(over)} over "
            f"{over.other}, and {word(control, claimed=False)} {control.other}, real images resampled ({change_text(control)})"
        )
    numbers = f"{over.arm} against {over.other}: {change_text(over)}"
    if told.promising:
        return "promising", f"synthetic images look promising ({numbers}); a claim takes {CLAIM_SEEDS} seeds"
    if all(gain.over_partner.outcome == "equivalent" for gain in found.gains):
        return "equivalent", f"synthetic images make no difference of {plain(MARGIN, 2)} or more ({numbers})"
    if over.n == 0:
        return "undecided", f"whether synthetic images help cannot be told, as {over.arm} and {over.other} share no seed"
    if over.n == 1:
        return "undecided", f"whether synthetic images help cannot be told from 1 seed ({numbers})"
    if over.outcome == "worse":
        return "undecided", f"synthetic images are not shown to help ({numbers})"
    could = (
        f"; {over.n} seeds show a gain of {plain(over.detectable)} or more" if over.detectable and over.n >= CLAIM_SEEDS else ""
    )
    return "undecided", f"whether synthetic images help is undecided ({numbers}{could})"


def _against_the_best(scores: Scores, found: Decision, told: Gain | None) -> str:
    """How the best arm with them does against the best one without, unless the sentence before has said so."""
    best = found.best
    assert best is not None
    if found.winner:
        return f", and {found.winner} beats every arm without them"
    if found.cheaper and not (found.hurt and found.cheaper == scores.baseline):
        return f"; {found.cheaper}, without them, beats every arm with them"
    named = {one.other for one in (told.over_partner, told.over_control) if one is not None} if told else ()
    if found.cheaper or best.n < 2 or best.other in named:
        return ""
    if best.outcome == "equivalent":
        return f"; {best.other}, without them, does as well as the best arm with them"
    return f"; whether any arm with them beats {best.other}, which needs none, is undecided"


def _recommendation(
    found: Decision, best: Comparison, needed: int | None, costs: Mapping[str, Cost | None], seed_cost: Cost | None
) -> Recommendation:
    def price(dear: str, cheap: str) -> str:
        one, other = costs.get(dear), costs.get(cheap)
        times = one.minutes / other.minutes if one and other and one.unit == other.unit and other.minutes > 0 else 0.0
        return f" {dear} takes {times:.3g} times the computing of {cheap}." if times >= WORTH_SAYING else ""

    if found.winner:
        return Recommendation("use", f"Use {found.winner}, with synthetic images.{price(found.winner, best.other)}", found.winner)
    if found.cheaper or best.outcome == "equivalent":
        arm = found.cheaper or best.other
        why = "is better than" if found.cheaper else "does as well as"
        return Recommendation("without", f"Do not synthesize: use {arm}, which {why} {best.arm}.{price(best.arm, arm)}", arm)
    assert needed is not None, "what is not decided needs more seeds"
    if needed > PRACTICAL_SEEDS:
        return Recommendation(
            "without",
            f"Use {best.other}, without synthetic images, unless a gain of {plain(MARGIN, 2)} is worth about {needed} seeds.",
            best.other,
        )
    more = needed - best.n
    about = f", about {cost_text(replace(seed_cost, minutes=more * seed_cost.minutes))}" if seed_cost else ""
    text = f"Run {more} more {'seed' if more == 1 else 'seeds'} ({needed} in all{about})"
    why = f": nothing is claimed with fewer than {CLAIM_SEEDS}" if best.n < CLAIM_SEEDS else ""
    return Recommendation("more", f"{text}{why}.", None, more)


def _size(gain: Gain) -> float:
    return gain.over_partner.mean or 0.0
