"""The verdict: whether synthetic images helped, and whether something without them does as well. It may say no."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.report import findings
from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable
from ltaug.report.collect import HEADLINE, PRIMARY
from ltaug.report.wording import count, interval_text, several, signed


@dataclass(frozen=True)
class Verdict:
    """A headline and the findings under it.

    Attributes:
        outcome: helped, hurt, mixed, tie, unknown (no interval) or none (no arm has synthetic images).
    """

    outcome: str
    headline: str
    points: tuple[findings.Finding, ...]


def verdict(scores: Scores, classes: ClassTable | None = None) -> Verdict:
    """Judge an experiment by its paired differences; an interval that includes zero is never called a gain."""
    featured = scores.featured
    if featured is None:
        return Verdict("none", _no_answer(scores), (*findings.without_synthesis(scores), *findings.caveats(scores)))
    added = findings.other_partners(scores, featured)
    outcome = _combined(scores, featured)
    points = (
        findings.helped(scores, featured, outcome),
        *added,
        *findings.cheaper(scores, featured),
        *(p for p in findings.best_against_best(scores) if p.pair not in {a.pair for a in added}),
        *findings.rivals(scores),
        *(findings.changed_classes(classes, featured, scores.baseline) if classes else ()),
        *findings.caveats(scores),
    )
    return Verdict(outcome, _headline(scores, featured, outcome), points)


def _combined(scores: Scores, featured: str) -> str:
    """helped, hurt, mixed, tie or unknown: the featured arm against the baseline over the primary metrics."""
    found = {scores.paired(featured, scores.baseline, metric).outcome for metric in PRIMARY}
    if {"up", "down"} <= found:
        return "mixed"
    return next((word for key, word in (("up", "helped"), ("down", "hurt"), ("unknown", "unknown")) if key in found), "tie")


def _headline(scores: Scores, featured: str, outcome: str) -> str:
    """The sentence for a featured arm and what `_combined` says of it."""
    start = _start(scores, featured, outcome)
    with_, without = scores.best_with, scores.best_without
    assert with_ is not None, "there is a featured arm"
    assert without is not None, "where an arm is featured the baseline has no synthetic images"
    if without == scores.baseline:
        tried = len(scores.values) > len(scores.synthetic) + 1
        return f"{start}." if tried or outcome != "helped" else f"{start}; whether something cheaper does as well was not tried."
    against = scores.paired(with_, without).outcome
    end = {
        "up": "the best arm with them beats the best arm without them",
        "down": f"the best arm without them is better{' still' if outcome == 'helped' else ''}",
        "tie": "an arm without them does as well as far as these seeds can tell",
        "unknown": "whether they beat the best arm without them is open",
    }[against]
    link = "; " if outcome != "helped" else ", and " if against == "up" else ", but "
    return f"{start}{link}{end}."


def _start(scores: Scores, featured: str, outcome: str) -> str:
    alone = scores.partners.get(featured) == scores.baseline
    own = "Synthetic images" if alone else "Training with synthetic images and other changes"
    if outcome in ("helped", "hurt"):
        way = "up" if outcome == "helped" else "down"
        where = [HEADLINE[m].lower() for m in PRIMARY if scores.paired(featured, scores.baseline, m).outcome == way]
        other = [HEADLINE[m].lower() for m in PRIMARY if HEADLINE[m].lower() not in where]
        return f"{own} {outcome}" + (f" in {several(where)}, though not measurably in {several(other)}" if other else "")
    difference = scores.paired(featured, scores.baseline)
    seen = f"macro recall {signed(difference.mean)} without an interval" if difference.mean is not None else "no seed is shared"
    measured = f"{HEADLINE[PRIMARY[0]].lower()} {signed(difference.mean)} {interval_text(difference)}"
    return {
        "mixed": f"{own} helped in one measure and hurt in another",
        "tie": f"{own} made no difference that {count(difference.n, 'seed')} can prove ({measured})",
        "unknown": f"These runs cannot say whether synthetic images help ({seen})",
    }[outcome]


def _no_answer(scores: Scores) -> str:
    """The sentence where nothing answers the question."""
    if scores.baseline in scores.synthetic:
        return "The baseline itself uses synthetic images, so this report cannot say whether they help."
    return "No arm used synthetic images, so this report only compares ways to train on real ones."
