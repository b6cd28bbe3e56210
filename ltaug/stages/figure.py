"""figure: the runs it is drawn from are opened, its options checked, and what is drawn is written beside its data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from ltaug.data.load import Dataset
from ltaug.data.outside import require_outside
from ltaug.errors import OptionError, nearest
from ltaug.fields import plain, read_of, resolve
from ltaug.figures.class_fid import draw_class_fid, rank_differences
from ltaug.figures.denoising import draw_denoising, two_classes
from ltaug.figures.features import draw_features, require_enough
from ltaug.figures.inputs import Evaluation, Subject, open_evaluations, open_subjects, require_same_images
from ltaug.figures.options import DenoisingOptions, FeaturesOptions, GridOptions, GuidanceOptions, NoOptions, SamplesOptions
from ltaug.figures.sheets import draw_grid, draw_samples, require_strengths, shown_classes, the_class
from ltaug.figures.sweep import draw_guidance, draw_tau, points_of
from ltaug.figures.table import Drawn, Progress
from ltaug.files import write_bytes
from ltaug.options import EvaluationOptions
from ltaug.records import METRICS_FILE
from ltaug.runs import Run, read_run
from ltaug.runtime import Runtime
from ltaug.stages.classifier import train_extractor
from ltaug.stages.evaluation import CLASSIFIER, evaluate_generator
from ltaug.stages.made import RunPath
from ltaug.stages.opening import Given, How, Job, source_of


def draw_figure(
    kind: str, runs: Sequence[Path], given: Given, *, out: Path, seed: int | None = None, **how: Unpack[How]
) -> RunPath:
    """Draw one figure into a run directory: the picture, figure.csv with its data, run.json; `ltaug figure`.

    Args:
        kind: "samples", "tau" and so on: a key of FIGURES.
        runs: what it is drawn from, as many as that figure takes.
        given: that figure's options (figures/options.py) by name.
        out: the run directory; a finished one of the same options and inputs is left as it is.
        seed: of the noise; None takes the first run's.
        how: machine, label, listener and wait (stages.opening.How).

    Raises:
        LtaugError: see errors.py; nothing is overwritten.
    """
    if kind not in FIGURES:
        raise OptionError(f"there is no figure {kind!r}; {nearest(kind, FIGURES)}")
    figure = FIGURES[kind]
    if not figure.least <= len(runs) <= (figure.most or len(runs)):
        wanted = f"{figure.least}" if figure.least == figure.most else f"at least {figure.least}"
        raise OptionError(f"figure {kind} is drawn from {wanted} {figure.stage} runs, {len(runs)} given; name that many")
    records = [read_run(run, stage=figure.stage, finished=True) for run in runs]
    for record in records:
        require_outside(out, record["options"]["dataset"]["dataset"])
    first = records[0]
    side = max(first["facts"].get("image_shape", (0,))[1:], default=0)
    options = resolve(figure.options, given, image_side=side, where=f"figure {kind}")
    job = Job("figure", out, **how)
    at = Context(job, first["seed"] if seed is None else seed, job.runtime())
    inputs, draw = figure.prepare(runs, options, at)
    with job.open(at.runtime, seed=at.seed, options={"figure": kind, kind: plain(options)}, inputs=inputs) as run:
        if not run.finished:
            _fill(run, draw)
    return RunPath(out)


def _fill(run: Run, draw: Callable[[Progress], Drawn]) -> None:
    began = time.monotonic()
    drawn = draw(run.event)
    for note in drawn.notes:
        run.event(note)
    for name, content in drawn.files.items():
        write_bytes(run.path / name, content)
    run.note(**drawn.facts, notes=drawn.notes)
    run.timing("draw", time.monotonic() - began)
    run.finish(list(drawn.files))


@dataclass(frozen=True)
class Context:
    """What a figure is drawn with, whatever it shows."""

    job: Job
    seed: int
    runtime: Runtime

    @property
    def noise(self) -> dict[str, Any]:
        return {"seed": self.seed, "runtime": self.runtime}

    def subjects(self, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
        """Generators as inputs of the figure."""
        return [self.job.input(s.generator.digest, s.generator.path) for s in subjects]

    def evaluations(self, evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
        """Evaluations as inputs of the figure."""
        return [self.job.input(e.record.outputs[METRICS_FILE], e.record.path) for e in evaluations]

    def data_of(self, subjects: Sequence[Subject]) -> Dataset:
        """The dataset that all these generators were fitted to."""
        require_same_images(subjects)
        return self.job.load_origin(subjects[0].generator.path)[1]


# A figure's inputs, and the function that draws it; everything a person may have got wrong is checked.
Ready = tuple[dict[str, Any], Callable[[Progress], Drawn]]


def samples(runs: Sequence[Path], options: SamplesOptions, at: Context) -> Ready:
    subjects = open_subjects(runs, runtime=at.runtime)
    shown_classes(subjects[0], options)
    return {"generators": at.subjects(subjects)}, lambda progress: draw_samples(subjects[0], options, **at.noise)


def denoising(runs: Sequence[Path], options: DenoisingOptions, at: Context) -> Ready:
    subjects = open_subjects(runs, runtime=at.runtime)
    two_classes(subjects[0], options)
    return {"generators": at.subjects(subjects)}, lambda progress: draw_denoising(subjects, options, **at.noise)


def features(runs: Sequence[Path], options: FeaturesOptions, at: Context) -> Ready:
    subjects = open_subjects(runs, runtime=at.runtime)
    data = at.data_of(subjects)
    seen = data.train if options.images == "train" else data.test
    require_enough(seen)
    inputs = {"train": source_of(data.train), "images": source_of(seen), "generators": at.subjects(subjects)}
    return inputs, lambda progress: draw_features(subjects, seen, data.train.class_counts, options, **at.noise, progress=progress)


def grid(runs: Sequence[Path], options: GridOptions, at: Context) -> Ready:
    require_strengths(options.strengths, least=1)
    subjects = open_subjects(runs, runtime=at.runtime)
    the_class(subjects[0], options)
    train = at.data_of(subjects).train
    return {"train": source_of(train), "generators": at.subjects(subjects)}, lambda progress: draw_grid(
        subjects, train, options, **at.noise, progress=progress
    )


def guidance(runs: Sequence[Path], options: GuidanceOptions, at: Context) -> Ready:
    """Evaluates the generator once a strength, in OUT.evaluations, from the same noise; each can be interrupted and continued."""
    job, (generator,) = at.job, runs
    strengths = require_strengths(options.strengths, least=2)
    made, data = job.load_origin(generator)
    folder = job.out.with_name(f"{job.out.name}.evaluations")
    extractor = None
    if options.extractor == CLASSIFIER:
        extractor = train_extractor(plain(made.dataset), out=folder / "extractor", **job.how(f"{job.name} extractor"))
    asked = {key: value for key, value in plain(options).items() if key != "strengths"}
    evaluated = []
    for w in strengths:
        chosen = read_of(EvaluationOptions, asked, beside={"guidance": w}) | {"guidance": w}  # at 0 there is no interval
        told: dict[str, Any] = {"seed": at.seed, "extractor_run": extractor, **job.how(f"{job.name} guidance {w:g}")}
        evaluated.append(evaluate_generator(generator, chosen, out=folder / f"guidance-{w:g}", **told))
    evaluations = open_evaluations(evaluated)
    inputs = {"train": source_of(data.train), "evaluations": at.evaluations(evaluations)}
    return inputs, lambda progress: draw_guidance(evaluations)


def tau(runs: Sequence[Path], options: NoOptions, at: Context) -> Ready:
    evaluations = open_evaluations(runs)
    points_of(evaluations)
    return {"evaluations": at.evaluations(evaluations)}, lambda progress: draw_tau(evaluations)


def class_fid(runs: Sequence[Path], options: NoOptions, at: Context) -> Ready:
    if len(runs) % 2:
        raise OptionError(f"figure class-fid compares pairs of evaluations, {len(runs)} given; name them as A B, A B, ...")
    evaluations = open_evaluations(runs)
    pairs = list(zip(evaluations[::2], evaluations[1::2], strict=True))
    rank_differences(pairs)
    return {"evaluations": at.evaluations(evaluations)}, lambda progress: draw_class_fid(pairs)


@dataclass(frozen=True)
class Kind:
    """A figure: the stage and the number of the runs it is drawn from, its options, and what makes it ready."""

    stage: str
    least: int
    most: int | None
    options: type[Any]
    prepare: Callable[[Sequence[Path], Any, Context], Ready]


FIGURES: dict[str, Kind] = {
    "samples": Kind("fit-generator", 1, 1, SamplesOptions, samples),
    "denoising": Kind("fit-generator", 2, 2, DenoisingOptions, denoising),
    "features": Kind("fit-generator", 1, None, FeaturesOptions, features),
    "grid": Kind("fit-generator", 1, None, GridOptions, grid),
    "guidance": Kind("fit-generator", 1, 1, GuidanceOptions, guidance),
    "tau": Kind("evaluate-generator", 2, None, NoOptions, tau),
    "class-fid": Kind("evaluate-generator", 2, None, NoOptions, class_fid),
}
