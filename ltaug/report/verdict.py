"""The verdict in words: what to do, did synthetic images help, who pays for it, and how sure is that?

Nothing is claimed here that decision.decide or harm_of does not claim; everything else is an estimate with its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ltaug.looks import LOOKS
from ltaug.report.arms import Scores
from ltaug.report.collect import HEADLINE
from ltaug.report.cost import Cost
from ltaug.report.decision import CLAIM_SEEDS, LEVEL, MARGIN, Comparison, Decision, Gain, Standing, decide
from ltaug.report.gates import Gate
from ltaug.report.harm import GROUPS, Harm, harm_of
from ltaug.report.statistics import Paired
from ltaug.report.wording import count, plain, several, signed

PRACTICAL_SEEDS = 20  # no more than these are advised
WORTH_SAYING = 1.5  # times the cost, from which on a price is said
AGAINST = {
    "better": "beats",
    "worse": "falls short of",
    "equivalent": "does as well as",
    "undecided": "is not told apart from",
    "promising": "looks better than",
    "unknown": "is undecided against",
}


@dataclass(frozen=True)
class Finding:
    """One finding: its topic, the sentence, and the numbers behind it."""

    topic: str
    text: str
    numbers: str = ""


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
    """Judge an experiment.

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
    featured = scores.featured
    if featured is None:
        return _nothing("No arm used synthetic images, so this report only compares ways to train on real ones.")
    found = decide(scores)
    best = found.best
    assert best is not None, "there are arms with and without synthetic images"
    decided = bool(found.winner or found.cheaper or best.outcome == "equivalent")
    needed = None if decided else _seeds_needed(best)
    shown = found.winner or featured
    harm = harm_of(scores, shown, (changes or {}).get(shown, {}))
    outcome, said = _outcome(scores, found, featured)
    copied = [gate.text for gate in gates if gate.kind == "copies" and gate.outcome == "warn"]
    return Verdict(
        outcome,
        " ".join([f"{said}{_against_the_best(scores, found)}{harm.clause}.", *copied]),
        _recommendation(found, best, needed, costs or {}, seed_cost),
        tuple(_findings(scores, found, harm)),
        found,
        harm,
        decided,
        needed,
    )


def _seeds_needed(best: Comparison) -> int | None:
    """Seeds in all after which the best arms could be told apart: at first those of any claim, as spreads of fewer say little."""
    if best.n < CLAIM_SEEDS:
        return CLAIM_SEEDS
    return None if best.seeds_needed is None else max(best.seeds_needed, best.n + 1)


def _nothing(headline: str) -> Verdict:
    return Verdict("none", headline, Recommendation("none", headline), ())


def _outcome(scores: Scores, found: Decision, featured: str) -> tuple[str, str]:
    """The outcome and its sentence, without what follows on the best arms."""
    outcome, text = _answer(scores, found, featured)
    return outcome, f"For this draw and generator, {text}" if scores.fixed_draw else text[0].upper() + text[1:]


def _answer(scores: Scores, found: Decision, featured: str) -> tuple[str, str]:
    if found.helped:
        top = max(found.helped, key=_size)
        over, also = top.over_partner, f" and {_change(top.second)}" if top.second else ""
        return "helped", f"synthetic images help: {over.arm} gains {_change(over)}{also} over {over.other}"
    if found.hurt:
        over = min(found.hurt, key=_size).over_partner
        return "hurt", f"synthetic images hurt: {over.arm} changes {_change(over)} against {over.other}"
    if not found.gains:
        outcome = "helped" if found.winner else "undecided"
        return outcome, "no two arms differ in their synthetic images alone, so what the images add by themselves is open"
    gained = max((gain for gain in found.gains if gain.over_partner.better), key=_size, default=None)
    if gained is not None:
        over, control = gained.over_partner, gained.over_control
        assert control is not None, "what is better than its partner and did not help has a control"
        return "balance", (
            f"synthetic images are not shown to help beyond class balance: {over.arm} gains {_change(over)} over {over.other}, "
            f"and {_word(control, claimed=False)} {control.other}, real images in the same numbers ({_change(control)})"
        )
    promising = max((gain for gain in found.gains if gain.promising), key=_size, default=None)
    shown = promising or next((gain for gain in found.gains if gain.over_partner.arm == featured), found.gains[-1])
    over = shown.over_partner
    numbers = f"{over.arm} against {over.other}: {_change(over)}"
    if promising:
        return "promising", f"synthetic images look promising ({numbers}); a claim takes {CLAIM_SEEDS} seeds"
    if all(gain.over_partner.outcome == "equivalent" for gain in found.gains):
        return "equivalent", f"synthetic images make no difference of {plain(MARGIN, 2)} or more ({numbers})"
    if over.n < 2:
        return "undecided", f"whether synthetic images help cannot be told from {count(over.n, 'seed')} ({numbers})"
    could = "" if over.detectable is None else f"; {count(over.n, 'seed')} show a gain of {plain(over.detectable)} or more"
    return "undecided", f"whether synthetic images help is undecided ({numbers}{could})"


def _against_the_best(scores: Scores, found: Decision) -> str:
    """How the best arm with them does against the best one without, unless the sentence before has said so."""
    best = found.best
    assert best is not None
    if found.winner:
        return f", and {found.winner} beats every arm without them"
    if found.cheaper and not (found.hurt and found.cheaper == scores.baseline):
        return f"; {found.cheaper}, without them, beats every arm with them"
    named = {one.other for gain in found.gains for one in (gain.over_partner, gain.over_control) if one is not None}
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
    assert needed is not None, "arms with CLAIM_SEEDS seeds have a spread, and what is not decided needs more"
    if needed > PRACTICAL_SEEDS:
        return Recommendation(
            "without",
            f"Use {best.other}, without synthetic images, unless a gain of {plain(MARGIN, 2)} is worth about {needed} seeds.",
            best.other,
        )
    more = needed - best.n
    about = "" if seed_cost is None else f", about {_minutes(more * seed_cost.minutes, seed_cost.unit)}"
    text = f"Run {more} more {'seed' if more == 1 else 'seeds'} ({needed} in all{about})"
    why = f": nothing is claimed with fewer than {CLAIM_SEEDS}" if best.n < CLAIM_SEEDS else ""
    return Recommendation("more", f"{text}{why}.", None, more)


def _minutes(minutes: float, unit: str) -> str:
    return f"{minutes:.0f} {unit} minutes" if minutes < 120 else f"{minutes / 60:.1f} {unit} hours"


def _findings(scores: Scores, found: Decision, harm: Harm) -> list[Finding]:
    points = []
    for gain in found.gains:
        over, control = gain.over_partner, gain.over_control
        text = f"{over.arm} {_word(over, claimed=over.better or gain in found.hurt)} {over.other}"
        if control is not None and over.better:
            text += f"; it {_word(control, claimed=gain.better)} {control.other}"
        points.append(Finding("Do synthetic images help?", f"{text}.", _numbers(gain)))
    for gain in found.added:
        add = "add to" if gain.better else "are not shown to add to"
        text = f"Synthetic images ({gain.over_partner.arm}) {add} {gain.over_partner.other}."
        points.append(Finding("Do they add to better training?", text, _numbers(gain)))
    best = found.best
    if best is not None and best.other != scores.baseline:
        text = f"{best.arm} {_word(best, claimed=bool(found.winner or found.cheaper))} {best.other}."
        points.append(Finding("Best with against best without", text, f"{_change(best)}.{_needs(best)}"))
    for one, alike in found.rivals:
        terms = "On the same terms" if alike else "Selected and used alike, each sampled in its own way"
        points.append(Finding("Which generator?", f"{terms}, {one.arm} {_word(one)} {one.other}.", f"{_change(one)}."))
    margin = plain(MARGIN, 2)
    becomes = {"lost": "falls", "kept": f"loses less than {margin}", "undecided": f"may lose {margin} or more"}
    for loss in harm.losses:
        recall = f"{GROUPS[loss.group].capitalize()} recall of {loss.change.arm}"
        text = f"{recall} {becomes[loss.outcome]} against {loss.change.other}."
        points.append(Finding("Who pays?", text, f"{_change(loss.change)}."))
    if harm.classes:
        points.append(Finding("Who pays?", f"By single classes (Holm), recall falls for {several(harm.classes)}."))
    return [*points, _sure(found)]


def _sure(found: Decision) -> Finding:
    assert found.best is not None
    if found.best.n < CLAIM_SEEDS:
        text = (
            f"With {count(found.best.n, 'seed')} nothing is claimed; intervals here lean on the differences being roughly normal."
        )
    else:
        text = (
            f"Claims err in at most 5 % of experiments that are looked at with {several(LOOKS)} seeds ({100 * LEVEL:.2f} % a look, "
            "corrected for the arms compared). Intervals in tables are 95 % intervals of single differences, and no claims."
        )
    return Finding("How sure is this?", text)


def _word(one: Comparison, *, claimed: bool = True) -> str:
    """How the first arm does against the second; what is not claimed is not shown."""
    return AGAINST[one.outcome] if claimed or one.outcome not in ("better", "worse") else "is not shown to differ from"


def _needs(one: Comparison) -> str:
    """What these seeds could have shown, for a comparison that they leave open."""
    if one.outcome not in ("undecided", "promising") or one.detectable is None:
        return ""
    return (
        f" These seeds show a gain of {plain(one.detectable)} or more; one of {plain(MARGIN, 2)} takes about {one.seeds_needed}."
    )


def _numbers(gain: Gain) -> str:
    parts = [f"{_change(one)} against {one.other}" for one in (gain.over_partner, gain.over_control) if one is not None]
    second = f"; {_change(gain.second)} against {gain.second.other}" if gain.second else ""
    return f"{', '.join(parts)}{second}."


def _change(one: Comparison) -> str:
    """+0.086 [+0.041, +0.131] macro recall, with the interval the claim rests on."""
    interval = "" if one.low is None or one.high is None else f" [{signed(one.low)}, {signed(one.high)}]"
    return f"{signed(one.mean)}{interval} {HEADLINE.get(one.metric, one.metric.replace('/', ', ')).lower()}"


def _size(gain: Gain) -> float:
    return gain.over_partner.mean or 0.0
