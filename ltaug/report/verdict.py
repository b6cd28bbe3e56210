"""The verdict in words: did synthetic images help, would something cheaper do, and who paid for it. It may say no."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable
from ltaug.report.collect import HEADLINE, PRIMARY
from ltaug.report.headline import combined, headline, no_answer
from ltaug.report.statistics import CONFIDENCE
from ltaug.report.wording import count, interval_text, plain, several, signed

FEW_SEEDS = 5
_AGAINST = {
    "up": ("beats", "beat"),
    "tie": ("cannot be told apart from", "cannot be told apart from"),
    "down": ("falls short of", "fall short of"),
    "unknown": ("is undecided against", "are undecided against"),
}


@dataclass(frozen=True)
class Point:
    """One finding: its topic, the sentence, the numbers behind it, and what they compare as (arm, other)."""

    topic: str
    text: str
    numbers: str = ""
    pair: tuple[str, str] | None = None


@dataclass(frozen=True)
class Verdict:
    """A headline and the findings under it.

    Attributes:
        outcome: helped, hurt, mixed, tie, unknown (no interval) or none (no arm has synthetic images).
    """

    outcome: str
    headline: str
    points: tuple[Point, ...]


def verdict(scores: Scores, classes: ClassTable | None = None) -> Verdict:
    """Judge an experiment by its paired differences; an interval that includes zero is never called a gain."""
    featured = scores.featured
    if featured is None:
        return Verdict("none", no_answer(scores), (*_without_synthesis(scores), *_caveats(scores)))
    added = _other_partners(scores, featured)
    outcome = combined(scores, featured)
    points = (
        _helped(scores, featured, outcome),
        *added,
        *_cheaper(scores, featured),
        *(p for p in _best_against_best(scores) if p.pair not in {a.pair for a in added}),
        *_rivals(scores),
        *(_classes(classes, featured, scores.baseline) if classes else ()),
        *_caveats(scores),
    )
    return Verdict(outcome, headline(scores, featured, outcome), points)


def _said(scores: Scores, arm: str, other: str) -> str:
    parts = []
    for metric in PRIMARY:
        difference = scores.paired(arm, other, metric)
        parts.append(f"{HEADLINE[metric].lower()} {signed(difference.mean)} {interval_text(difference)}")
    first = scores.paired(arm, other)
    return f"{arm} minus {other}: {', '.join(parts)}; higher recall in {first.wins} of {count(first.n, 'seed')}."


def _helped(scores: Scores, featured: str, outcome: str) -> Point:
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
    pair = (featured, scores.baseline)
    return Point("Did synthetic images help?", text, _said(scores, *pair), pair)


def _other_partners(scores: Scores, featured: str) -> list[Point]:
    """What images add to arms that are trained in a better way than the baseline."""
    points = []
    for arm in scores.order:
        partner = scores.partners.get(arm)
        if arm == featured or partner is None or partner == scores.baseline:
            continue
        words = {"up": "still helped", "down": "hurt", "tie": "changed nothing measurable", "unknown": "are undecided"}
        outcome = scores.paired(arm, partner).outcome
        text = f"On top of {partner}, synthetic images ({arm}) {words[outcome]}."
        points.append(Point("Do they add to better training?", text, _said(scores, arm, partner), (arm, partner)))
    return points


def _cheaper(scores: Scores, featured: str) -> list[Point]:
    cheap = [arm for arm in scores.order if arm not in scores.synthetic and arm != scores.baseline]
    if not cheap:
        return [Point("Would something cheaper do?", "Open: no arm without synthesis other than the baseline was run.")]
    outcomes = {arm: scores.paired(arm, featured).outcome for arm in cheap}
    points = []
    for outcome, (one, many) in _AGAINST.items():
        arms = [arm for arm in cheap if outcomes[arm] == outcome]
        if arms:
            best = arms[-1]  # the order is by mean
            verb = one if len(arms) == 1 else many
            text = f"Without any synthesis, {several(arms)} {verb} {featured}."
            points.append(Point("Would something cheaper do?", text, _said(scores, best, featured), (best, featured)))
    return points


def _best_against_best(scores: Scores) -> list[Point]:
    with_, without = scores.best_with, scores.best_without
    if with_ is None or without is None or without == scores.baseline:
        return []
    words = {
        "up": "The best arm with synthesis beats the best arm without it",
        "down": "The best arm without synthesis beats the best arm with it",
        "tie": "The best arm with synthesis and the best without it are too close to call",
        "unknown": "The best arm with synthesis against the best without it is undecided",
    }[scores.paired(with_, without).outcome]
    text = f"{words}: {with_} against {without}."
    return [Point("Best with against best without", text, _said(scores, with_, without), (with_, without))]


def _rivals(scores: Scores) -> list[Point]:
    """Generators against each other, where nothing else differs: the best of each group against the others, by outcome."""
    points = []
    for group in scores.rivals:
        best, *others = sorted(group.arms, key=scores.mean, reverse=True)
        terms = "On the same terms" if group.sampled_alike else "Selected and used alike, each sampled in its own way"
        for outcome, (word, _) in _AGAINST.items():
            arms = [arm for arm in others if scores.paired(best, arm).outcome == outcome]
            if arms:  # the numbers are of the nearest
                text = f"{terms}, {best} {word} {several(arms)}."
                points.append(Point("Which generator?", text, _said(scores, best, arms[0]), (best, arms[0])))
    return points


def _without_synthesis(scores: Scores) -> list[Point]:
    best = scores.best_without
    if best is None or best == scores.baseline:
        return []
    pair = (best, scores.baseline)
    return [Point("Best arm", f"{best} scored highest.", _said(scores, *pair), pair)]


def _classes(classes: ClassTable, featured: str, baseline: str) -> list[Point]:
    change = classes.recall_change.get(featured)
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
            worst = min(lower, key=lambda i: mean[i])
            text = f"None beyond the noise. {len(lower)} of {len(head)} are lower on average; the largest loss is {said[worst]}."
        else:
            text = f"No: none of the {count(len(head), 'head class', 'head classes')} has a lower recall on average."
        points.append(Point("Did a head class lose?", text))
    gain, loss = max(rows, key=lambda i: mean[i]), min(rows, key=lambda i: mean[i])
    text = f"Largest gain in recall: {said[gain]}." if mean[gain] > 0 else "No class gained recall."
    text += f" Largest loss: {said[loss]}." if mean[loss] < 0 else " No class lost recall on average."
    return [*points, Point("Who gained, who lost?", text)]


def _caveats(scores: Scores) -> list[Point]:
    n = max(scores.paired(arm, scores.baseline).n for arm in scores.values)
    points = []
    if n == 1:
        text = "With one seed there is no interval at all; take every number here as an anecdote and run at least three."
        points.append(Point("How sure is this?", text))
    elif 1 < n < FEW_SEEDS:
        text = (
            f"With {n} seeds the intervals are wide and lean on the differences being roughly normal; by counting signs alone "
            f"no result can have a p below {plain(2 / 2**n, 2)}. Run {FEW_SEEDS} or more seeds before a "
            "decision rests on a close call."
        )
        points.append(Point("How sure is this?", text))
    elif n >= FEW_SEEDS:
        points.append(Point("How sure is this?", f"The intervals are 95 % intervals from {n} seeds, paired by seed."))
    return [*points, *_many_looks(scores)]


def _many_looks(scores: Scores) -> list[Point]:
    """What is left of the differences from the baseline once it counts how many arms were looked at."""
    adjusted = {metric: p for metric in PRIMARY if len(p := scores.adjusted_p(metric)) > 1}
    firm = {metric: [arm for arm, p in by_arm.items() if p < 1 - CONFIDENCE] for metric, by_arm in adjusted.items()}
    points = []
    for arms in [list(a) for a in dict.fromkeys(map(tuple, firm.values()))]:
        metrics = [metric for metric in firm if firm[metric] == arms]
        measures = several([HEADLINE[metric].lower() for metric in metrics])
        kept = f"a difference in {measures} stands for {several(arms)}" if arms else f"no difference in {measures} stands"
        looks = f"{count(len(adjusted[metrics[0]]), 'arm')} were compared with {scores.baseline}"
        points.append(Point("Many comparisons", f"{looks}; corrected for that (Holm), {kept}."))
    return points
