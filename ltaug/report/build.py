"""From run directories to a report: one structure, then written as a page, Markdown and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ltaug.data.given import read_given
from ltaug.data.imageset import ImageSet
from ltaug.data.outside import require_outside
from ltaug.errors import DataError, MismatchError, OptionError, nearest
from ltaug.options import DatasetOptions
from ltaug.records import REPORT_FILE, ClassifierRecord
from ltaug.report import method
from ltaug.report.arms import Scores, score
from ltaug.report.classes import class_table, confusion_change
from ltaug.report.collect import HEADLINE, PRIMARY, Experiment, collect
from ltaug.report.cost import costs, seed_cost
from ltaug.report.document import ArmRow, Report, compared_arm
from ltaug.report.evaluations import Evaluation, collect_evaluations
from ltaug.report.figures import draw, draw_generators, kind_of
from ltaug.report.gains import gains, worth
from ltaug.report.gallery import Gallery, gallery, gallery_of_given
from ltaug.report.gates import gates
from ltaug.report.generators import generator_tables
from ltaug.report.growth import read_growth
from ltaug.report.notes import notes
from ltaug.report.outside import outside_gates, with_outside
from ltaug.report.published import Published, published_on, recognised
from ltaug.report.render import write_report
from ltaug.report.statistics import spread
from ltaug.report.verdict import verdict
from ltaug.report.wording import count, several
from ltaug.runs import Event, Listener, hold, ignore_events, require_ours

LoadTrain = Callable[[DatasetOptions, int], ImageSet]


def build_report(
    runs: Sequence[Path],
    *,
    out: Path,
    load_train: LoadTrain | None,
    baseline: str | None = None,
    primary: str | None = None,
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
        primary: the metric of PRIMARY that arms are ordered by and claims are made about first [default: its first].
        published: the dataset whose published results to show [default: the one that the runs' options name, if any].

    Raises:
        RunExistsError: `out` holds something that is not a report.
        OptionError: `out` lies among the images of the dataset.
        OptionError, MismatchError, CorruptError: as `collect` says.
    """
    require_ours(out, mark=REPORT_FILE, otherwise="is not a report")
    papers = published_on(published) if published is not None else None  # a misspelt name is refused before anything is read
    if primary not in (None, *PRIMARY):
        raise OptionError(f"--primary {primary!r} is not a metric that claims are made about; {nearest(str(primary), PRIMARY)}")
    experiment = collect(runs, baseline=baseline)
    for dataset in {run.record.dataset.dataset for run in experiment.runs}:
        require_outside(out, dataset)
    evaluations, unfinished = collect_evaluations(runs)
    experiment = dataclasses.replace(experiment, skipped=(*experiment.skipped, *unfinished))
    for label in experiment.skipped:
        listener(Event("report", f"{label} is not finished and is left out."))
    scores = score(experiment, primary=primary or PRIMARY[0])
    report = _assemble(experiment, scores, evaluations, out, load_train, title, papers)
    report = dataclasses.replace(report, growth=read_growth(runs))
    with hold(out, mark=REPORT_FILE, otherwise="is not a report"):
        write_report(report)
    listener(Event("report", f"The report is in {out}."))
    return report


def _assemble(
    experiment: Experiment,
    scores: Scores,
    evaluations: Sequence[Evaluation],
    out: Path,
    load_train: LoadTrain | None,
    title: str | None,
    papers: Published | None,
) -> Report:
    classes = class_table(experiment)
    checks = (*gates(experiment), *outside_gates(experiment))
    minutes, further = costs(experiment), seed_cost(experiment, evaluations)
    changes = {
        arm: {classes.row_name(i): change for i, change in enumerate(rows)}
        for arm, rows in classes.changes.get("recall", {}).items()
    }
    found = with_outside(verdict(scores, changes, gates=checks, costs=minutes, seed_cost=further), experiment)
    alike = scores.comparable
    featured = found.recommendation.arm if found.recommendation.action == "use" else alike.featured
    roles = {
        "featured": featured,
        "best_without": alike.best_without,
        "best_with": alike.best_with,
        "control": _control(alike),
    }
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
        verdict=found,
        gates=checks,
        gains=gains(scores, after),
        costs={arm: minutes[arm] for arm in scores.order},
        worth=worth(scores, minutes),
        seed_cost=further,
        steps=_steps(experiment),
        shown=shown,
        headline=headline,
        metrics=scores.metrics,
        arms=tuple(_arm_row(experiment, scores, arm) for arm in scores.order),
        classes=classes,
        confusion=change,
        settings=method.settings(runs),
        selections=method.selections(runs),
        origin=method.origin(runs, experiment.runs),
        notes=notes(
            experiment, scores, classes, standing=found.standing, compared=after, gates=checks, costs=minutes, no_pictures=missing
        ),
        generators=generators,
        published=papers or recognised(run.record.dataset for run in experiment.runs),
        gallery=pictures,
        figures=draw(scores, classes, change, found.standing, after, featured) | draw_generators(generators),
    )


def _control(scores: Scores) -> str | None:
    """The control that is trained as the best arm with synthetic images, or else the best control."""
    controls = [arm for arm in scores.order if arm in scores.controls.values()]
    return scores.controls.get(scores.best_with or "") or next(reversed(controls), None)


def _steps(experiment: Experiment) -> str | None:
    """How many optimizer steps the classifiers take; None where runs of an earlier version do not say."""
    taken = {arm: {result.record.steps for result in by_seed.values()} for arm, by_seed in experiment.results.items()}
    every = set().union(*taken.values())
    if 0 in every:
        return None
    if len(every) == 1:
        return f"every arm takes {count(every.pop(), 'optimizer step')}"
    least, most = min(every), max(every)
    longest = [arm for arm, steps in taken.items() if most in steps]
    return f"unequal optimizer steps: {least:,} to {most:,} ({several(longest)})"


def _arm_row(experiment: Experiment, scores: Scores, arm: str) -> ArmRow:
    return ArmRow(
        name=arm,
        about=experiment.first(arm).record.about,
        kind=kind_of(scores, arm),
        seeds=tuple(sorted(experiment.results[arm])),
        summary={key: spread(list(by_seed.values())) for key in scores.metrics if (by_seed := scores.values[arm].get(key))},
        against_baseline={
            key: scores.paired(arm, scores.baseline, key)
            for key in scores.values[arm]
            if arm != scores.baseline and arm in scores.comparable.values
        },
    )


def _pictures(experiment: Experiment, arm: str | None, load_train: LoadTrain | None) -> tuple[Gallery | None, str | None]:
    """The gallery of the featured arm's first seed, or why there is none."""
    if arm is None:
        return None, "No arm has synthetic images, so there are none to show."
    if load_train is None:
        return None, "The real images were not at hand, so no images are shown."
    result = experiment.first(arm)
    gone = None, f"The synthetic images of {arm} no longer lie where its run says, so no images are shown."
    if result.synthesis is None and not result.brought:
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
