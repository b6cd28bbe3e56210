"""What to bear in mind about each part of a report, and why a part is missing."""

from __future__ import annotations

from collections.abc import Mapping

from ltaug.data.longtail import listed
from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable, untested
from ltaug.report.collect import Experiment
from ltaug.report.cost import Cost
from ltaug.report.decision import Standing
from ltaug.report.gates import Gate
from ltaug.report.wording import count, metric_name, several


def notes(
    experiment: Experiment,
    scores: Scores,
    classes: ClassTable,
    *,
    standing: Standing | None,
    compared: str | None,
    gates: tuple[Gate, ...],
    costs: Mapping[str, Cost | None],
    no_pictures: str | None,
) -> dict[str, tuple[str, ...]]:
    """Sentences by part: reading, standing, gains, gates, cost, classes, images, selection; empty where nothing needs saying."""
    unchecked = "The synthetic images were not" if scores.synthetic else "No arm has synthetic images, so none were"
    return {
        "reading": tuple(_reading(experiment, scores)),
        "gates": () if gates else (f"{unchecked} checked.",),
        "standing": tuple(_standing(scores, standing)),
        "gains": (_gains(scores, compared),),
        "cost": tuple(_cost(costs)),
        "classes": tuple(_classes(experiment, classes)),
        "images": (no_pictures,) if no_pictures else (),
        "selection": tuple(_selection(experiment, scores)),
    }


BY_RANK = (
    "Each seed draws other classes as the tail, so per-class results are lined up by frequency rank (rank 1 is the most "
    "frequent class of its seed) and not by class name."
)


def _reading(experiment: Experiment, scores: Scores) -> list[str]:
    draws = {result.record.train_digest for result in experiment.runs}
    covered = (
        "draws, generators and classifiers; the test set is fixed, so they do not cover the choice of test images."
        if len(draws) > 1
        else "classifiers alone: every seed has the same real training images and, in an arm, the same synthetic ones. They say "
        "nothing about another draw, another generator or other test images."
        if scores.fixed_draw or not scores.synthetic
        else "generators and classifiers: every seed has the same real training images. They say nothing about other training "
        "or test images."
    )
    found = [
        "Differences are paired: the arms of one seed share the long-tailed draw of real images. Intervals are 95 % t intervals "
        f"over seeds, that is over {covered}",
        "The arms singled out as best are picked by their mean "
        f"{metric_name(scores.primary)} on the test images, which flatters them slightly.",
    ]
    for arm in scores.order:
        gone = [seed for seed in experiment.seeds if seed not in experiment.results[arm]]
        if gone:
            words = f"{count(len(gone), 'seed')} ({several(gone)})"
            found.append(f"{arm} was not run for {words}; its differences use only the seeds it shares with the other arm.")
    told = dict.fromkeys(note for result in experiment.runs for note in result.record.dataset_notes)
    found += [f"The dataset: {note}." for note in told]
    if experiment.skipped:
        found.append(f"Left out because unfinished: {several(experiment.skipped)}.")
    return found


def _classes(experiment: Experiment, classes: ClassTable) -> list[str]:
    names = [repr(experiment.class_names[k]) for k in untested(experiment.runs[0])]
    nothing = f"No test image shows class {listed(names)}, so nothing is measured on {'it' if len(names) == 1 else 'them'}."
    return [*([BY_RANK] if classes.by == "rank" else []), *([nothing] if names else [])]


def _gains(scores: Scores, compared: str | None) -> str:
    if compared is None:
        return f"No arm is there to be compared with {scores.baseline}."
    change = scores.paired(compared, scores.baseline)
    interval = change.reason or "in brackets the 95 % interval of the paired difference, uncorrected for the number of groups"
    return f"Before → after: means over {count(change.n, 'seed')}; {interval}." if change.n else f"No gains: {change.reason}."


def _standing(scores: Scores, standing: Standing | None) -> list[str]:
    apart = [arm for arm in scores.order if arm not in scores.comparable.values]
    return _figure(scores, standing) + (
        [
            f"Not compared: {several(apart)}. A difference of theirs from {scores.baseline} may be one of the weights that the "
            "classifiers start from, so no gain is claimed; --baseline names an arm of other weights."
        ]
        if apart
        else []
    )


def _figure(scores: Scores, standing: Standing | None) -> list[str]:
    others = standing.against if standing else {}
    if not others:
        why = "there is no other" if len(scores.values) == 1 else "the verdict names no arm that they are measured against"
        return [f"There is no figure of the arms: {why}."]
    bare = [arm for arm, found in others.items() if found.mean is not None and (found.low is None or found.high is None)]
    apart = [arm for arm, found in others.items() if found.mean is None]
    return [
        *([f"Without an interval: {several(bare) if len(bare) < len(others) else 'all of them'}."] if bare else []),
        *([f"Without a seed in common with {standing.reference}: {several(apart)}."] if standing and apart else []),
    ]


def _cost(costs: Mapping[str, Cost | None]) -> list[str]:
    unknown = [arm for arm, cost in costs.items() if cost is None]
    if len(unknown) == len(costs):
        return ["What the arms cost is not known."]
    said = ["One seed of each arm alone, mean over seeds: what several arms share, judges too, counts in each."]
    return [*said, *([f"What {several(unknown)} cost{'s' * (len(unknown) == 1)} is not known."] if unknown else [])]


def _selection(experiment: Experiment, scores: Scores) -> list[str]:
    made = {arm: experiment.results[arm].values() for arm in scores.order if arm in scores.synthetic}
    lost = [arm for arm, results in made.items() if not any(result.synthesis or result.brought for result in results)]
    if not lost:
        return []
    return [f"What was generated and kept for {several(lost)} is not known: the synthesis runs no longer lie where the runs say."]
