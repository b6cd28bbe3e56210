"""figure: the runs it is drawn from are opened, its options checked, and what is drawn is written beside its data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.data.load import Dataset
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
from ltaug.files import atomic_write
from ltaug.options import EvaluationOptions, Machine
from ltaug.records import METRICS_FILE
from ltaug.runs import Listener, Run, ignore_events, read_run
from ltaug.runtime import Runtime, make_runtime
from ltaug.stages.classifier import How, train_extractor
from ltaug.stages.evaluation import CLASSIFIER, evaluate_generator
from ltaug.stages.opening import Given, already_done, load_origin, open_stage, relative_to, side_of, source_of


def draw_figure(
    kind: str,
    runs: Sequence[Path],
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Draw one figure into a run directory: the picture, figure.csv with its data, run.json; `ltaug figure`.

    Args:
        kind: "samples", "tau" and so on: a key of FIGURES.
        runs: what it is drawn from, as many as that figure takes.
        given: that figure's options (figures/options.py) by name.
        out: the run directory; a finished one of the same options and inputs is left as it is.
        seed: of the noise; None takes the first run's.

    Raises:
        LtaugError: see errors.py; nothing is overwritten.
    """
    if kind not in FIGURES:
        raise OptionError(f"there is no figure {kind!r}; {nearest(kind, FIGURES)}")
    figure = FIGURES[kind]
    if not figure.least <= len(runs) <= (figure.most or len(runs)):
        wanted = f"{figure.least}" if figure.least == figure.most else f"at least {figure.least}"
        raise OptionError(f"figure {kind} is drawn from {wanted} {figure.stage} runs, {len(runs)} given; name that many")
    runtime = make_runtime(machine.device, threads=machine.threads)
    seed = read_run(runs[0], stage=figure.stage, finished=True)["seed"] if seed is None else seed
    ready = figure.prepare(runs, given, Context(out, seed, machine, runtime, label or out.name, listener, wait))
    with open_stage(
        out,
        "figure",
        label=label,
        seed=seed,
        options={"figure": kind, kind: plain(ready.options)},
        inputs=ready.inputs,
        runtime=runtime,
        listener=listener,
        log=machine.log,
        wait=wait,
    ) as run:
        if not already_done(run):
            _fill(run, ready)
    return out


def _fill(run: Run, ready: Prepared) -> None:
    began = time.monotonic()
    drawn = ready.draw(lambda text, step, total: run.event(text, step, total))
    for note in drawn.notes:
        run.event(note)
    for name, content in drawn.files.items():
        with atomic_write(run.path / name) as file:
            file.write(content)
    run.note(**drawn.facts, notes=drawn.notes)
    run.timing("draw", time.monotonic() - began)
    run.finish(list(drawn.files))


@dataclass(frozen=True)
class Context:
    """What a figure is drawn with, whatever it shows."""

    out: Path
    seed: int
    machine: Machine
    runtime: Runtime
    label: str
    listener: Listener
    wait: float


@dataclass(frozen=True)
class Prepared:
    """A figure that can be drawn: everything a person may have got wrong is checked.

    Attributes:
        options, inputs: for run.json, where they are the figure's spec.
    """

    options: Any
    inputs: dict[str, Any]
    draw: Callable[[Progress], Drawn]


def samples(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(SamplesOptions, given, image_side=_side(subjects), where="figure samples")
    shown_classes(subjects[0], options)
    return Prepared(
        options,
        {"generators": _subjects(subjects, context.out)},
        lambda progress: draw_samples(subjects[0], options, seed=context.seed, runtime=context.runtime),
    )


def denoising(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(DenoisingOptions, given, image_side=_side(subjects), where="figure denoising")
    two_classes(subjects[0], options)
    return Prepared(
        options,
        {"generators": _subjects(subjects, context.out)},
        lambda progress: draw_denoising(subjects, options, seed=context.seed, runtime=context.runtime),
    )


def features(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(FeaturesOptions, given, image_side=_side(subjects), where="figure features")
    data = _common_data(subjects, context)
    seen = data.train if options.images == "train" else data.test
    require_enough(seen)
    counts = data.train.class_counts
    return Prepared(
        options,
        {"train": source_of(data.train), "images": source_of(seen), "generators": _subjects(subjects, context.out)},
        lambda progress: draw_features(
            subjects, seen, counts, options, seed=context.seed, runtime=context.runtime, progress=progress
        ),
    )


def grid(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(GridOptions, given, image_side=_side(subjects), where="figure grid")
    require_strengths(options.strengths, least=1)
    the_class(subjects[0], options)
    train = _common_data(subjects, context).train
    return Prepared(
        options,
        {"train": source_of(train), "generators": _subjects(subjects, context.out)},
        lambda progress: draw_grid(subjects, train, options, seed=context.seed, runtime=context.runtime, progress=progress),
    )


def guidance(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    """Evaluates the generator once a strength, in OUT.evaluations, from the same noise; each can be interrupted and continued."""
    (generator,) = runs
    made, data = load_origin(generator, context.machine, context.label, context.listener)
    options = resolve(GuidanceOptions, given, image_side=side_of(data.train), where="figure guidance")
    strengths = require_strengths(options.strengths, least=2)
    folder = context.out.with_name(f"{context.out.name}.evaluations")
    shared: How = {"machine": context.machine, "listener": context.listener, "wait": context.wait}
    extractor = None
    if options.extractor == CLASSIFIER:
        how: How = {**shared, "label": f"{context.label} extractor"}
        extractor = train_extractor(plain(made.dataset), out=folder / "extractor", **how)
    asked = {key: value for key, value in plain(options).items() if key != "strengths"}
    evaluated = []
    for w in strengths:
        chosen = read_of(EvaluationOptions, asked, beside={"guidance": w}) | {"guidance": w}  # at 0 there is no interval
        how = {**shared, "label": f"{context.label} guidance {w:g}"}
        path = folder / f"guidance-{w:g}"
        evaluated.append(evaluate_generator(generator, chosen, out=path, seed=context.seed, extractor_run=extractor, **how))
    evaluations = open_evaluations(evaluated)
    return Prepared(
        options,
        {"train": source_of(data.train), "evaluations": _evaluations(evaluations, context.out)},
        lambda progress: draw_guidance(evaluations),
    )


def tau(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    evaluations = open_evaluations(runs)
    points_of(evaluations)
    options = resolve(NoOptions, given, image_side=0, where="figure tau")
    return Prepared(options, {"evaluations": _evaluations(evaluations, context.out)}, lambda progress: draw_tau(evaluations))


def class_fid(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    if len(runs) % 2:
        raise OptionError(f"figure class-fid compares pairs of evaluations, {len(runs)} given; name them as A B, A B, ...")
    evaluations = open_evaluations(runs)
    pairs = list(zip(evaluations[::2], evaluations[1::2], strict=True))
    rank_differences(pairs)
    options = resolve(NoOptions, given, image_side=0, where="figure class-fid")
    return Prepared(options, {"evaluations": _evaluations(evaluations, context.out)}, lambda progress: draw_class_fid(pairs))


def _side(subjects: Sequence[Subject]) -> int:
    return max(subjects[0].generator.image_shape[1:])


def _common_data(subjects: Sequence[Subject], context: Context) -> Dataset:
    """The dataset that all these generators were fitted to."""
    require_same_images(subjects)
    return load_origin(subjects[0].generator.path, context.machine, context.label, context.listener)[1]


def _subjects(subjects: Sequence[Subject], out: Path) -> list[dict[str, Any]]:
    """Generators as a figure's run.json records them."""
    return [{"digest": s.generator.digest, "path": relative_to(s.generator.path, out)} for s in subjects]


def _evaluations(evaluations: Sequence[Evaluation], out: Path) -> list[dict[str, Any]]:
    """Evaluations as a figure's run.json records them."""
    return [{"digest": e.record.outputs[METRICS_FILE], "path": relative_to(e.record.path, out)} for e in evaluations]


@dataclass(frozen=True)
class Kind:
    """A figure: the stage and the number of the runs it is drawn from, and what makes it ready."""

    stage: str
    least: int
    most: int | None
    prepare: Callable[[Sequence[Path], Given, Context], Prepared]


FIGURES: dict[str, Kind] = {
    "samples": Kind("fit-generator", 1, 1, samples),
    "denoising": Kind("fit-generator", 2, 2, denoising),
    "features": Kind("fit-generator", 1, None, features),
    "grid": Kind("fit-generator", 1, None, grid),
    "guidance": Kind("fit-generator", 1, 1, guidance),
    "tau": Kind("evaluate-generator", 2, None, tau),
    "class-fid": Kind("evaluate-generator", 2, None, class_fid),
}
