"""From run directories to a report: one structure, then written as a page, Markdown and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ltaug.data.given import read_given
from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError, MismatchError, RunExistsError
from ltaug.options import DatasetOptions
from ltaug.records import ClassifierRecord
from ltaug.report import method
from ltaug.report.arms import Scores, score
from ltaug.report.classes import ClassTable, class_table, confusion_change
from ltaug.report.collect import HEADLINE, Experiment, collect
from ltaug.report.document import ArmRow, Report, compared_arm
from ltaug.report.evaluations import Evaluation, collect_evaluations
from ltaug.report.figures import draw, draw_generators, kind_of
from ltaug.report.gallery import Gallery, gallery, gallery_of_given
from ltaug.report.gates import FORMS, unknown_origin
from ltaug.report.generators import generator_tables
from ltaug.report.published import Published, published_on, recognised
from ltaug.report.render import write_report
from ltaug.report.statistics import Paired, spread
from ltaug.report.verdict import verdict
from ltaug.report.wording import count, several
from ltaug.runs import Event, Listener, ignore_events

LoadTrain = Callable[[DatasetOptions, int], ImageSet]


def build_report(
    runs: Sequence[Path],
    *,
    out: Path,
    load_train: LoadTrain | None,
    baseline: str | None = None,
    title: str | None = None,
    published: str | None = None,
    listener: Listener = ignore_events,
) -> Report:
    """Compare finished classifier runs, and evaluations of generators, in report.html, report.md and report.json.

    Args:
        runs: directories, searched with everything below them; unfinished runs are left out and named.
        out: the directory to write to; an earlier report in it is replaced.
        load_train: the real training images of (dataset options, seed), for pictures; None leaves the pictures out.
        baseline: the arm to compare with [default: "real", or else the first arm without synthetic images].
        published: the dataset whose published results to show [default: the one that the runs' options name, if any].

    Raises:
        RunExistsError: `out` holds something that is not a report.
        OptionError, MismatchError, CorruptError: as `collect` says.
    """
    if out.is_file():
        raise RunExistsError(f"{out} is a file; name another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "report.json").is_file():
        raise RunExistsError(f"{out} exists and is not a report; name another --out (nothing was changed)")
    papers = published_on(published) if published is not None else None  # a misspelt name is refused before anything is read
    experiment = collect(runs, baseline=baseline)
    evaluations, unfinished = collect_evaluations(runs)
    experiment = dataclasses.replace(experiment, skipped=(*experiment.skipped, *unfinished))
    for label in experiment.skipped:
        listener(Event("report", f"{label} is not finished and is left out."))
    report = _assemble(experiment, evaluations, out, load_train, title, papers)
    write_report(report)
    listener(Event("report", f"{report.verdict.headline} The report is in {out}."))
    return report


def _assemble(
    experiment: Experiment,
    evaluations: Sequence[Evaluation],
    out: Path,
    load_train: LoadTrain | None,
    title: str | None,
    papers: Published | None,
) -> Report:
    scores = score(experiment)
    classes = class_table(experiment)
    roles = {"featured": scores.featured, "best_without": scores.best_without, "best_with": scores.best_with}
    shown = {"baseline": scores.baseline} | {role: arm for role, arm in roles.items() if arm is not None}
    runs = {arm: [run for _, run in sorted(experiment.results[arm].items())] for arm in scores.order}
    after = compared_arm(shown)
    change = confusion_change(experiment, after, scores.baseline) if after else None
    featured = shown.get("featured") or shown.get("best_with")
    pictures, missing = _pictures(experiment, featured, load_train)
    generators = generator_tables(evaluations, experiment, order=scores.order, featured=featured)
    headline = {key: name for key, name in HEADLINE.items() if key in scores.metrics}
    return Report(
        path=out,
        title=title or f"What synthetic images gain on {experiment.runs[0].record.train_source or 'the dataset'}",
        verdict=verdict(scores, classes),
        shown=shown,
        headline=headline,
        metrics=scores.metrics,
        arms=tuple(_arm_row(experiment, scores, arm) for arm in scores.order),
        adjusted_p={key: scores.adjusted_p(key) for key in headline},
        classes=classes,
        confusion=change,
        settings=method.settings(runs),
        selections=method.selections(runs),
        timings=method.timings(runs),
        origin=method.origin(runs, experiment.runs),
        notes=_notes(experiment, scores, classes, missing),
        generators=generators,
        published=papers or recognised(run.record.dataset for run in experiment.runs),
        gallery=pictures,
        figures=draw(scores, classes, change, shown, headline) | draw_generators(generators),
    )


def _arm_row(experiment: Experiment, scores: Scores, arm: str) -> ArmRow:
    def against(other: str | None) -> dict[str, Paired]:
        return {key: scores.paired(arm, other, key) for key in scores.values[arm]} if other not in (None, arm) else {}

    partner = scores.partners.get(arm)
    return ArmRow(
        name=arm,
        about=experiment.first(arm).record.about,
        kind=kind_of(scores, arm),
        seeds=tuple(sorted(experiment.results[arm])),
        summary={key: spread(list(by_seed.values())) for key in scores.metrics if (by_seed := scores.values[arm].get(key))},
        against_baseline=against(scores.baseline),
        against_best_without=against(scores.best_without),
        partner=partner,
        against_partner=against(partner),
    )


def _pictures(experiment: Experiment, arm: str | None, load_train: LoadTrain | None) -> tuple[Gallery | None, str | None]:
    """The gallery of the featured arm's first seed, or why there is none."""
    if arm is None:
        return None, "No arm has synthetic images, so there are none to show."
    if load_train is None:
        return None, "The real images were not at hand, so no images are shown."
    result = experiment.first(arm)
    gone = None, f"The synthetic images of {arm} no longer lie where its run says, so no images are shown."
    if result.synthesis is None and result.record.synthetic_origin not in FORMS:
        return gone
    try:
        real = load_train(result.record.dataset, result.record.draw_seed)
    except DataError as error:  # the numbers stand without the images
        return None, f"The real images could not be read ({error}), so no images are shown."
    if real.digest != result.record.train_digest:
        return None, f"The real images loaded now are not those of {arm}'s run (their digests differ), so no images are shown."
    if result.synthesis is not None:
        return gallery(result.synthesis, real, arm=arm, seed=result.seed), None
    images = _given(result.record, real)
    return gone if images is None else (gallery_of_given(images, result.record.overlap, real, arm=arm, seed=result.seed), None)


def _given(record: ClassifierRecord, real: ImageSet) -> ImageSet | None:
    """The synthetic images that were not made here, if they still lie where they did and are what they were."""
    assert record.synthetic_run is not None
    assert record.synthetic_run.path is not None, "a run records where its images lay"
    try:
        images = read_given(record.synthetic_run.path.resolve(), real).images
    except (DataError, MismatchError):
        return None
    return images if images.digest == record.synthetic_run.digest else None


def _notes(experiment: Experiment, scores: Scores, classes: ClassTable, missing: str | None) -> dict[str, tuple[str, ...]]:
    draws = {result.record.train_digest for result in experiment.runs}
    covered = (
        "draws, generators and classifiers; the test set is fixed, so they do not cover the choice of test images."
        if len(draws) > 1
        else "classifiers alone: every seed has the same real training images and, in an arm, the same synthetic ones. They say "
        "nothing about another draw, another generator or other test images."
    )
    reading = [
        "Differences are paired: the arms of one seed share the long-tailed draw of real images. Intervals are 95 % t intervals "
        f"over seeds, that is over {covered}",
        "The arms singled out as best are picked by their mean macro recall on the test images, which flatters them slightly.",
    ]
    for arm in scores.order:
        gone = [seed for seed in experiment.seeds if seed not in experiment.results[arm]]
        if gone:
            words = f"{count(len(gone), 'seed')} ({several(gone)})"
            reading.append(f"{arm} was not run for {words}; its differences use only the seeds it shares with the other arm.")
    if experiment.skipped:
        reading.append(f"Left out because unfinished: {several(experiment.skipped)}.")
    by_rank = (
        "Each seed draws other classes as the tail, so per-class results are lined up by frequency rank (rank 1 is the most "
        "frequent class of its seed) and not by class name."
    )
    elsewhere = unknown_origin(experiment)
    lost = [a for a in scores.order if a in scores.synthetic and not any(r.synthesis for r in experiment.results[a].values())]
    lost = [arm for arm in lost if not elsewhere or arm not in elsewhere.arms]
    unknown = (
        f"What was generated and kept for {several(lost)} is not known: the synthesis runs no longer lie where the runs say."
    )
    return {
        "reading": tuple(reading),
        "classes": (by_rank,) if classes.by == "rank" else (),
        "images": (missing,) if missing else (),
        "selection": (*([unknown] if lost else []), *([elsewhere.text] if elsewhere else [])),
    }
