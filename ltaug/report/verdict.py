"""The verdict and the findings under it: did synthetic images help, would something cheaper do, which classes paid for it?

It may say no: an interval that includes zero is never called a gain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable
from ltaug.report.collect import HEADLINE, PRIMARY
from ltaug.report.decision import Recommendation, Standing
from ltaug.report.statistics import CONFIDENCE
from ltaug.report.wording import count, interval_text, plain, several, signed

FEW_SEEDS = 5
AGAINST = {
    "up": ("beats", "beat"),
    "tie": ("cannot be told apart from", "cannot be told apart from"),
    "down": ("falls short of", "fall short of"),
    "unknown": ("is undecided against", "are undecided against"),
}


@dataclass(frozen=True)
class Finding:
    """One finding: its topic, the sentence, the numbers behind it, and what they compare as (arm, other)."""

    topic: str
    text: str
    numbers: str = ""
    pair: tuple[str, str] | None = None


@dataclass(frozen=True)
class Verdict:
    """A headline and its findings; helped, hurt, mixed, tie, unknown (no interval) or none (no arm has synthetic images)."""

    outcome: str
    headline: str
    points: tuple[Finding, ...]
    recommendation: Recommendation = field(default_factory=lambda: Recommendation("none", "Nothing is recommended."))
    standing: Standing | None = None
    decided: bool = False
    seeds_needed: int | None = None


def verdict(scores: Scores, classes: ClassTable | None = None) -> Verdict:
    """Judge an experiment by its paired differences; an interval that includes zero is never called a gain."""
    featured = scores.featured
    if featured is None:
        headline = "No arm used synthetic images, so this report only compares ways to train on real ones."
        if scores.baseline in scores.synthetic:
            headline = "The baseline itself uses synthetic images, so this report cannot say whether they help."
        return Verdict("none", headline, (*_without_synthesis(scores), *_caveats(scores)))
    added = _other_partners(scores, featured)
    found = {scores.paired(featured, scores.baseline, metric).outcome for metric in PRIMARY}
    words = {"up": "helped", "down": "hurt", "unknown": "unknown", "tie": "tie"}
    outcome = "mixed" if {"up", "down"} <= found else next(word for key, word in words.items() if key in found)
    points = (
        _helped(scores, featured, outcome),
        *added,
        *_cheaper(scores, featured),
        *(p for p in _best_against_best(scores) if p.pair not in {a.pair for a in added}),
        *_rivals(scores),
        *(_changed_classes(classes, featured, scores.baseline) if classes else ()),
        *_caveats(scores),
    )
    return Verdict(outcome, _headline(scores, featured, outcome), points)


def _headline(scores: Scores, featured: str, outcome: str) -> str:
    """The sentence for a featured arm."""
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


def _compared(scores: Scores, topic: str, text: str, arm: str, other: str) -> Finding:
    """A finding on two arms with the numbers behind it."""
    differences = {HEADLINE[metric].lower(): scores.paired(arm, other, metric) for metric in PRIMARY}
    parts = [f"{measure} {signed(d.mean)} {interval_text(d)}" for measure, d in differences.items()]
    first = scores.paired(arm, other)
    numbers = f"{arm} minus {other}: {', '.join(parts)}; higher recall in {first.wins} of {count(first.n, 'seed')}."
    return Finding(topic, text, numbers, (arm, other))


def _helped(scores: Scores, featured: str, outcome: str) -> Finding:
    words = {
        "helped": "did better than",
        "hurt": "did worse than",
        "mixed": "gained in one measure and lost in the other against",
        "tie": "cannot be told apart from",
        "unknown": "was compared, without an interval, with",
    }[outcome]
    text = f"{featured} {words} {scores.baseline}."
    if scores.partners.get(featured) != scores.baseline:
        text += " The two differ in more than the synthetic images, so this difference is not due to the images alone."
    reason = scores.paired(featured, scores.baseline).reason
    if outcome == "unknown" and reason:
        text += f" Reason: {reason}."
    return _compared(scores, "Did synthetic images help?", text, featured, scores.baseline)


def _other_partners(scores: Scores, featured: str) -> list[Finding]:
    """What images add to arms that are trained in a better way than the baseline."""
    points = []
    for arm in scores.order:
        partner = scores.partners.get(arm)
        if arm == featured or partner is None or partner == scores.baseline:
            continue
        words = {"up": "still helped", "down": "hurt", "tie": "changed nothing measurable", "unknown": "are undecided"}
        outcome = scores.paired(arm, partner).outcome
        text = f"On top of {partner}, synthetic images ({arm}) {words[outcome]}."
        points.append(_compared(scores, "Do they add to better training?", text, arm, partner))
    return points


def _cheaper(scores: Scores, featured: str) -> list[Finding]:
    cheap = [arm for arm in scores.order if arm not in scores.synthetic and arm != scores.baseline]
    if not cheap:
        return [Finding("Would something cheaper do?", "Open: no arm without synthesis other than the baseline was run.")]
    points = []
    for outcome, (one, many) in AGAINST.items():
        arms = [arm for arm in cheap if scores.paired(arm, featured).outcome == outcome]
        if arms:  # the numbers are of the best; the order is by mean
            text = f"Without any synthesis, {several(arms)} {one if len(arms) == 1 else many} {featured}."
            points.append(_compared(scores, "Would something cheaper do?", text, arms[-1], featured))
    return points


def _best_against_best(scores: Scores) -> list[Finding]:
    with_, without = scores.best_with, scores.best_without
    if with_ is None or without is None or without == scores.baseline:
        return []
    words = {
        "up": "The best arm with synthesis beats the best arm without it",
        "down": "The best arm without synthesis beats the best arm with it",
        "tie": "The best arm with synthesis and the best without it are too close to call",
        "unknown": "The best arm with synthesis against the best without it is undecided",
    }[scores.paired(with_, without).outcome]
    return [_compared(scores, "Best with against best without", f"{words}: {with_} against {without}.", with_, without)]


def _rivals(scores: Scores) -> list[Finding]:
    """Generators against each other, where nothing else differs: the best of each group against the others, by outcome."""
    points = []
    for group in scores.rivals:
        best, *others = sorted(group.arms, key=scores.mean, reverse=True)
        terms = "On the same terms" if group.sampled_alike else "Selected and used alike, each sampled in its own way"
        for outcome, (word, _) in AGAINST.items():
            arms = [arm for arm in others if scores.paired(best, arm).outcome == outcome]
            if arms:  # the numbers are of the nearest
                text = f"{terms}, {best} {word} {several(arms)}."
                points.append(_compared(scores, "Which generator?", text, best, arms[0]))
    return points


def _without_synthesis(scores: Scores) -> list[Finding]:
    best = scores.best_without
    if best is None or best == scores.baseline:
        return []
    return [_compared(scores, "Best arm", f"{best} scored highest.", best, scores.baseline)]


def _changed_classes(classes: ClassTable, featured: str, baseline: str) -> list[Finding]:
    change = classes.changes.get("recall", {}).get(featured)
    rows = [i for i, c in enumerate(change or ()) if c.mean is not None]
    if change is None or not rows:
        return []
    mean = {i: change[i].mean or 0.0 for i in rows}
    said = {i: f"{classes.row_name(i)} {signed(mean[i])} {interval_text(change[i])}" for i in rows}
    head = [i for i in rows if classes.groups[i] == "many"]
    points = []
    if head:
        lost = [i for i in head if change[i].outcome == "down"]
        lower = [i for i in head if mean[i] < 0]
        if lost:
            text = f"Yes: {several([said[i] for i in lost])} in recall against {baseline}."
        elif lower:
            worst = min(lower, key=mean.__getitem__)
            text = f"None beyond the noise. {len(lower)} of {len(head)} are lower on average; the largest loss is {said[worst]}."
        else:
            text = f"No: none of the {count(len(head), 'head class', 'head classes')} has a lower recall on average."
        points.append(Finding("Did a head class lose?", text))
    gain, loss = max(rows, key=mean.__getitem__), min(rows, key=mean.__getitem__)
    text = f"Largest gain in recall: {said[gain]}." if mean[gain] > 0 else "No class gained recall."
    text += f" Largest loss: {said[loss]}." if mean[loss] < 0 else " No class lost recall on average."
    return [*points, Finding("Who gained, who lost?", text)]


def _caveats(scores: Scores) -> list[Finding]:
    n = max((scores.paired(arm, scores.baseline).n for arm in scores.values if arm != scores.baseline), default=0)
    text = ""
    if n == 1:
        text = "With one seed there is no interval at all; take every number here as an anecdote and run at least three."
    elif 1 < n < FEW_SEEDS:
        text = (
            f"With {n} seeds the intervals are wide and lean on the differences being roughly normal; by counting signs alone "
            f"no result can have a p below {plain(2 / 2**n, 2)}. Run {FEW_SEEDS} or more seeds before a "
            "decision rests on a close call."
        )
    elif n >= FEW_SEEDS:
        text = f"The intervals are 95 % intervals from {n} seeds, paired by seed."
    points = [Finding("How sure is this?", text)] if text else []
    # What is left of the differences from the baseline once it counts how many arms were looked at.
    adjusted = {metric: p for metric in PRIMARY if len(p := scores.adjusted_p(metric)) > 1}
    firm = {metric: tuple(arm for arm, p in by_arm.items() if p < 1 - CONFIDENCE) for metric, by_arm in adjusted.items()}
    for arms in dict.fromkeys(firm.values()):
        metrics = [metric for metric in firm if firm[metric] == arms]
        measures = several([HEADLINE[metric].lower() for metric in metrics])
        kept = f"a difference in {measures} stands for {several(arms)}" if arms else f"no difference in {measures} stands"
        looks = f"{count(len(adjusted[metrics[0]]), 'arm')} were compared with {scores.baseline}"
        points.append(Finding("Many comparisons", f"{looks}; corrected for that (Holm), {kept}."))
    return points
