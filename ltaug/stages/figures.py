"""Figures: the runs they are drawn from are opened here, and what is drawn is written beside its data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.data.load import Dataset
from ltaug.errors import MismatchError, OptionError
from ltaug.figures.denoising import draw_denoising, two_classes
from ltaug.figures.features import draw_features
from ltaug.figures.grid import draw_grid, the_class
from ltaug.figures.options import DenoisingOptions, FeaturesOptions, GridOptions, SamplesOptions
from ltaug.figures.samples import draw_samples, shown_classes
from ltaug.figures.strengths import require_strengths
from ltaug.figures.subject import Subject, names_of
from ltaug.figures.table import Drawn, Progress
from ltaug.generator.samplers import find_sampler
from ltaug.generator.stage import Generator
from ltaug.options import Machine, nearest, resolve
from ltaug.runs import Listener, Run, atomic_write, ignore_events, read_run
from ltaug.runtime import Runtime, make_runtime
from ltaug.stages.opening import Given, already_done, open_stage, plain, relative_to, source_of
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


@dataclass(frozen=True)
class Kind:
    """A figure: the stage and the number of the runs it is drawn from, and what makes it ready."""

    stage: str
    least: int
    most: int | None
    prepare: Callable[[Sequence[Path], Given, Context], Prepared]


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
        kind: "samples", "denoising", "features", "grid": a key of FIGURES.
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


def _samples(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, context)
    options = resolve(SamplesOptions, given, image_side=_side(subjects), where="figure samples")
    find_sampler(options.sampler)
    shown_classes(subjects[0], options)
    return Prepared(
        options,
        {"generators": _inputs(runs, subjects, context)},
        lambda progress: draw_samples(subjects[0], options, seed=context.seed, runtime=context.runtime),
    )


def _denoising(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, context)
    options = resolve(DenoisingOptions, given, image_side=_side(subjects), where="figure denoising")
    find_sampler(options.sampler)
    two_classes(subjects[0], options)
    return Prepared(
        options,
        {"generators": _inputs(runs, subjects, context)},
        lambda progress: draw_denoising(subjects, options, seed=context.seed, runtime=context.runtime),
    )


def _features(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, context)
    options = resolve(FeaturesOptions, given, image_side=_side(subjects), where="figure features")
    data = common_data(runs, context)
    seen = data.train if options.images == "train" else data.test
    return Prepared(
        options,
        {"images": source_of(seen), "train": source_of(data.train), "generators": _inputs(runs, subjects, context)},
        lambda progress: draw_features(
            subjects, seen, data.train.class_counts, options, seed=context.seed, runtime=context.runtime, progress=progress
        ),
    )


def _grid(runs: Sequence[Path], given: Given, context: Context) -> Prepared:
    subjects = open_subjects(runs, context)
    options = resolve(GridOptions, given, image_side=_side(subjects), where="figure grid")
    find_sampler(options.sampler)
    require_strengths(options.strengths, least=1)
    the_class(subjects[0], options)
    train = common_data(runs, context).train
    return Prepared(
        options,
        {"train": source_of(train), "generators": _inputs(runs, subjects, context)},
        lambda progress: draw_grid(subjects, train, options, seed=context.seed, runtime=context.runtime, progress=progress),
    )


def open_subjects(runs: Sequence[Path], context: Context) -> list[Subject]:
    """Generators for one figure.

    Raises:
        OptionError: one is named twice.
        MismatchError: one has other classes or images of another shape than the first.
    """
    records = [read_run(path, stage="fit-generator", finished=True) for path in runs]
    if len({path.resolve() for path in runs}) < len(runs):
        raise OptionError(f"{', '.join(map(str, runs))}: a generator is named twice; name each once")
    generators = [Generator.load(path, runtime=context.runtime) for path in runs]
    first = generators[0]
    for path, generator in zip(runs, generators, strict=True):
        if generator.class_names != first.class_names:
            raise MismatchError(f"{path} has other classes than {runs[0]}; draw generators of the same classes and class order")
        if generator.image_shape != first.image_shape:
            shapes = f"images of {generator.image_shape}, {runs[0]} of {first.image_shape} (channels, height, width)"
            raise MismatchError(f"{path} makes {shapes}; draw generators of the same image size")
    settings = [record["options"]["fit-generator"] for record in records]
    names = names_of(settings, [str(path) for path in runs])
    return [
        Subject(name, generator, options, tuple(record["facts"]["class_counts"]), record["seed"])
        for name, generator, options, record in zip(names, generators, settings, records, strict=True)
    ]


def common_data(runs: Sequence[Path], context: Context) -> Dataset:
    """The dataset that these generators were fitted to.

    Raises:
        MismatchError: they were fitted to different training images, or those have changed since.
    """
    digests = [read_run(path)["inputs"]["train"]["digest"] for path in runs]
    for path, digest in zip(runs, digests, strict=True):
        if digest != digests[0]:
            remedy = "draw generators of one dataset, draw and seed"
            raise MismatchError(f"{path} was fitted to other training images than {runs[0]}; {remedy}")
    return load_origin(runs[0], context.machine, context.label, context.listener)[2]


def _inputs(runs: Sequence[Path], subjects: Sequence[Subject], context: Context) -> list[dict[str, Any]]:
    return [
        {"digest": s.generator.digest, "path": relative_to(path, context.out)} for path, s in zip(runs, subjects, strict=True)
    ]


def _side(subjects: Sequence[Subject]) -> int:
    return max(subjects[0].generator.image_shape[1:])


FIGURES: dict[str, Kind] = {
    "samples": Kind("fit-generator", 1, 1, _samples),
    "denoising": Kind("fit-generator", 2, 2, _denoising),
    "features": Kind("fit-generator", 1, None, _features),
    "grid": Kind("fit-generator", 1, None, _grid),
}
