"""The findings under the verdict: did synthetic images help, would something cheaper do, and which classes paid for it."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable
from ltaug.report.collect import HEADLINE, PRIMARY
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


def _compared(scores: Scores, topic: str, text: str, arm: str, other: str) -> Finding:
    """A finding on two arms with the numbers behind it."""
    parts = []
    for metric in PRIMARY:
        difference = scores.paired(arm, other, metric)
        parts.append(f"{HEADLINE[metric].lower()} {signed(difference.mean)} {interval_text(difference)}")
    first = scores.paired(arm, other)
    numbers = f"{arm} minus {other}: {', '.join(parts)}; higher recall in {first.wins} of {count(first.n, 'seed')}."
    return Finding(topic, text, numbers, (arm, other))


def helped(scores: Scores, featured: str, outcome: str) -> Finding:
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


def other_partners(scores: Scores, featured: str) -> list[Finding]:
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


def cheaper(scores: Scores, featured: str) -> list[Finding]:
    cheap = [arm for arm in scores.order if arm not in scores.synthetic and arm != scores.baseline]
    if not cheap:
        return [Finding("Would something cheaper do?", "Open: no arm without synthesis other than the baseline was run.")]
    outcomes = {arm: scores.paired(arm, featured).outcome for arm in cheap}
    points = []
    for outcome, (one, many) in AGAINST.items():
        arms = [arm for arm in cheap if outcomes[arm] == outcome]
        if arms:
            best = arms[-1]  # the order is by mean
            verb = one if len(arms) == 1 else many
            text = f"Without any synthesis, {several(arms)} {verb} {featured}."
            points.append(_compared(scores, "Would something cheaper do?", text, best, featured))
    return points


def best_against_best(scores: Scores) -> list[Finding]:
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
    return [_compared(scores, "Best with against best without", text, with_, without)]


def rivals(scores: Scores) -> list[Finding]:
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


def without_synthesis(scores: Scores) -> list[Finding]:
    best = scores.best_without
    if best is None or best == scores.baseline:
        return []
    return [_compared(scores, "Best arm", f"{best} scored highest.", best, scores.baseline)]


def changed_classes(classes: ClassTable, featured: str, baseline: str) -> list[Finding]:
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
        points.append(Finding("Did a head class lose?", text))
    gain, loss = max(rows, key=lambda i: mean[i]), min(rows, key=lambda i: mean[i])
    text = f"Largest gain in recall: {said[gain]}." if mean[gain] > 0 else "No class gained recall."
    text += f" Largest loss: {said[loss]}." if mean[loss] < 0 else " No class lost recall on average."
    return [*points, Finding("Who gained, who lost?", text)]


def caveats(scores: Scores) -> list[Finding]:
    n = max((scores.paired(arm, scores.baseline).n for arm in scores.values if arm != scores.baseline), default=0)
    points = []
    if n == 1:
        text = "With one seed there is no interval at all; take every number here as an anecdote and run at least three."
        points.append(Finding("How sure is this?", text))
    elif 1 < n < FEW_SEEDS:
        text = (
            f"With {n} seeds the intervals are wide and lean on the differences being roughly normal; by counting signs alone "
            f"no result can have a p below {plain(2 / 2**n, 2)}. Run {FEW_SEEDS} or more seeds before a "
            "decision rests on a close call."
        )
        points.append(Finding("How sure is this?", text))
    elif n >= FEW_SEEDS:
        points.append(Finding("How sure is this?", f"The intervals are 95 % intervals from {n} seeds, paired by seed."))
    return [*points, *_many_looks(scores)]


def _many_looks(scores: Scores) -> list[Finding]:
    """What is left of the differences from the baseline once it counts how many arms were looked at."""
    adjusted = {metric: p for metric in PRIMARY if len(p := scores.adjusted_p(metric)) > 1}
    firm = {metric: [arm for arm, p in by_arm.items() if p < 1 - CONFIDENCE] for metric, by_arm in adjusted.items()}
    points = []
    for arms in [list(a) for a in dict.fromkeys(map(tuple, firm.values()))]:
        metrics = [metric for metric in firm if firm[metric] == arms]
        measures = several([HEADLINE[metric].lower() for metric in metrics])
        kept = f"a difference in {measures} stands for {several(arms)}" if arms else f"no difference in {measures} stands"
        looks = f"{count(len(adjusted[metrics[0]]), 'arm')} were compared with {scores.baseline}"
        points.append(Finding("Many comparisons", f"{looks}; corrected for that (Holm), {kept}."))
    return points
