"""The findings under a verdict: each question with its answer in a sentence, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.looks import LOOKS
from ltaug.report.arms import Scores
from ltaug.report.decision import CLAIM_SEEDS, LEVEL, MARGIN, Comparison, Decision, Gain
from ltaug.report.harm import GROUPS, Harm
from ltaug.report.wording import count, metric_name, plain, several, signed

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


def findings(scores: Scores, found: Decision, harm: Harm) -> list[Finding]:
    """What the seeds say on each question, in the order of the questions."""
    points = []
    for gain in found.gains:
        over, control = gain.over_partner, gain.over_control
        text = f"{over.arm} {word(over, claimed=over.better or gain in found.hurt)} {over.other}"
        if control is not None and over.better:
            text += f"; it {word(control, claimed=gain.better)} {control.other}"
        points.append(Finding("Do synthetic images help?", f"{text}.", _numbers(gain)))
    for gain in found.added:
        add = "add to" if gain.better else "are not shown to add to"
        text = f"Synthetic images ({gain.over_partner.arm}) {add} {gain.over_partner.other}."
        points.append(Finding("Do they add to better training?", text, _numbers(gain)))
    best = found.best
    assert best is not None
    if best.other != scores.baseline:
        text = f"{best.arm} {word(best, claimed=bool(found.winner or found.cheaper))} {best.other}."
        points.append(Finding("Is the best arm one with them?", text, f"{change_text(best)}.{_needs(best)}"))
    for one, alike in found.rivals:
        terms = "On the same terms" if alike else "Selected and used alike, each sampled in its own way"
        points.append(Finding("Which generator?", f"{terms}, {one.arm} {word(one)} {one.other}.", f"{change_text(one)}."))
    margin = plain(MARGIN, 2)
    becomes = {"lost": "falls", "kept": f"does not fall by {margin} or more", "undecided": f"may fall by {margin} or more"}
    for loss in harm.losses if best.n >= CLAIM_SEEDS else ():
        recall = f"{GROUPS[loss.group].capitalize()} recall of {loss.change.arm}"
        text = f"{recall} {becomes[loss.outcome]} against {loss.change.other}."
        points.append(Finding("Who pays?", text, f"{change_text(loss.change)}."))
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
            f"Claims err in at most 5 % of experiments that are looked at with {several(LOOKS)} seeds "
            f"({100 * LEVEL:.2f} % a look, corrected for the arms compared). Intervals in tables are 95 % "
            "intervals of single differences, and no claims."
        )
    return Finding("How sure is this?", text)


def word(one: Comparison, *, claimed: bool = True) -> str:
    """How the first arm does against the second; what is not claimed is not shown."""
    return AGAINST[one.outcome] if claimed or one.outcome not in ("better", "worse") else "is not shown to differ from"


def _needs(one: Comparison) -> str:
    """What these seeds could have shown, for a comparison that they leave open."""
    if one.outcome != "undecided" or one.detectable is None or one.n < CLAIM_SEEDS:
        return ""
    return (
        f" These seeds show a gain of {plain(one.detectable)} or more; one of {plain(MARGIN, 2)} takes about {one.seeds_needed}."
    )


def _numbers(gain: Gain) -> str:
    parts = [f"{change_text(one)} against {one.other}" for one in (gain.over_partner, gain.over_control) if one is not None]
    second = f"; {change_text(gain.second)} against {gain.second.other}" if gain.second else ""
    return f"{', '.join(parts)}{second}."


def change_text(one: Comparison) -> str:
    """+0.086 [+0.041, +0.131] macro recall, with the interval the claim rests on."""
    interval = "" if one.low is None or one.high is None else f" [{signed(one.low)}, {signed(one.high)}]"
    metric, _, group = one.metric.partition("/")
    return f"{signed(one.mean)}{interval} {f'{GROUPS[group]} {metric}' if group in GROUPS else metric_name(one.metric)}"
