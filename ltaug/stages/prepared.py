"""Every figure made ready: its runs opened, its options checked, and a function that draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.figures.class_fid import draw_class_fid, rank_differences
from ltaug.figures.denoising import draw_denoising, two_classes
from ltaug.figures.features import draw_features, require_enough
from ltaug.figures.grid import draw_grid, the_class
from ltaug.figures.guidance import draw_guidance
from ltaug.figures.options import DenoisingOptions, FeaturesOptions, GridOptions, GuidanceOptions, NoOptions, SamplesOptions
from ltaug.figures.samples import draw_samples, shown_classes
from ltaug.figures.strengths import require_strengths
from ltaug.figures.subject import Subject
from ltaug.figures.table import Drawn, Progress
from ltaug.figures.tau import draw_tau, points_of
from ltaug.options import Machine
from ltaug.runs import Listener
from ltaug.runtime import Runtime
from ltaug.stages.classification import train_extractor
from ltaug.stages.drawable import common_data, evaluation_inputs, open_evaluations, open_subjects, subject_inputs
from ltaug.stages.evaluation import CLASSIFIER, evaluate_generator
from ltaug.stages.opening import Given, plain, side_of, source_of
from ltaug.stages.origin import load_origin


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
        {"generators": subject_inputs(runs, subjects, context.out)},
        lambda progress: draw_samples(subjects[0], options, seed=context.seed, runtime=context.runtime),
    )


def denoising(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(DenoisingOptions, given, image_side=_side(subjects), where="figure denoising")
    two_classes(subjects[0], options)
    return Prepared(
        options,
        {"generators": subject_inputs(runs, subjects, context.out)},
        lambda progress: draw_denoising(subjects, options, seed=context.seed, runtime=context.runtime),
    )


def features(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(FeaturesOptions, given, image_side=_side(subjects), where="figure features")
    data = common_data(runs, machine=context.machine, label=context.label, listener=context.listener)
    seen = data.train if options.images == "train" else data.test
    require_enough(seen)
    counts = data.train.class_counts
    return Prepared(
        options,
        {"train": source_of(data.train), "images": source_of(seen), "generators": subject_inputs(runs, subjects, context.out)},
        lambda progress: draw_features(
            subjects, seen, counts, options, seed=context.seed, runtime=context.runtime, progress=progress
        ),
    )


def grid(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, runtime=context.runtime)
    options = resolve(GridOptions, given, image_side=_side(subjects), where="figure grid")
    require_strengths(options.strengths, least=1)
    the_class(subjects[0], options)
    train = common_data(runs, machine=context.machine, label=context.label, listener=context.listener).train
    return Prepared(
        options,
        {"train": source_of(train), "generators": subject_inputs(runs, subjects, context.out)},
        lambda progress: draw_grid(subjects, train, options, seed=context.seed, runtime=context.runtime, progress=progress),
    )


def guidance(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    """Evaluates the generator once a strength, in OUT.evaluations, from the same noise; each can be interrupted and continued."""
    (generator,) = runs
    _, dataset, data = load_origin(generator, context.machine, context.label, context.listener)
    options = resolve(GuidanceOptions, given, image_side=side_of(data.train), where="figure guidance")
    strengths = require_strengths(options.strengths, least=2)
    folder = context.out.with_name(f"{context.out.name}.evaluations")
    shared: dict[str, Any] = {"machine": context.machine, "listener": context.listener, "wait": context.wait}
    extractor = None
    if options.extractor == CLASSIFIER:
        extractor = train_extractor(dataset, out=folder / "extractor", label=f"{context.label} extractor", **shared)
    evaluated = []
    for w in strengths:
        chosen = {key: value for key, value in plain(options).items() if key != "strengths"} | {"guidance": w}
        path, label = folder / f"guidance-{w:g}", f"{context.label} guidance {w:g}"
        evaluated.append(
            evaluate_generator(generator, chosen, out=path, seed=context.seed, extractor_run=extractor, label=label, **shared)
        )
    evaluations = open_evaluations(evaluated)
    return Prepared(
        options,
        {"train": source_of(data.train), "evaluations": evaluation_inputs(evaluated, context.out)},
        lambda progress: draw_guidance(evaluations),
    )


def tau(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    evaluations = open_evaluations(runs)
    points_of(evaluations)
    options = resolve(NoOptions, given, image_side=0, where="figure tau")
    return Prepared(options, {"evaluations": evaluation_inputs(runs, context.out)}, lambda progress: draw_tau(evaluations))


def class_fid(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    if len(runs) % 2:
        raise OptionError(f"figure class-fid compares pairs of evaluations, {len(runs)} given; name them as A B, A B, ...")
    evaluations = open_evaluations(runs)
    pairs = list(zip(evaluations[::2], evaluations[1::2], strict=True))
    rank_differences(pairs)
    options = resolve(NoOptions, given, image_side=0, where="figure class-fid")
    return Prepared(options, {"evaluations": evaluation_inputs(runs, context.out)}, lambda progress: draw_class_fid(pairs))


def _side(subjects: Sequence[Subject]) -> int:
    return max(subjects[0].generator.image_shape[1:])
