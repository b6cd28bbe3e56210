"""The stages as functions: each opens its run directory, calls the library below it and returns the directory.

This is the public Python API, equal to the commands; `pipeline` makes the same calls in parallel for a recipe.

Throughout, `dataset` and `given` hold only what was explicitly chosen (keys as fields or flags); the rest is resolved
to the defaults for the size of the images. Importing this module loads torch; importing `ltaug` does not.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ltaug.classifier.judge import Judge
from ltaug.classifier.stage import run_classifier
from ltaug.data.budgets import parse_budget
from ltaug.data.imageset import ImageSet
from ltaug.data.inspect import inspect_dataset
from ltaug.data.load import Dataset, load_dataset
from ltaug.errors import MismatchError
from ltaug.generator.stage import Generator, run_generator
from ltaug.recipes import (
    JUDGE,
    SMALL_JUDGE,
    SMALL_SIDE,
    ClassifierOptions,
    DatasetOptions,
    GeneratorOptions,
    Machine,
    SynthesisOptions,
    resolve,
)
from ltaug.report.build import build_report
from ltaug.report.document import Report
from ltaug.runs import Event, Listener, Run, ignore_events, open_run, read_run
from ltaug.runtime import Runtime, derive_seed, make_runtime, versions
from ltaug.synthesis.manifest import read_synthetic
from ltaug.synthesis.stage import run_synthesis

Given = Mapping[str, Any]


def fit_generator(
    dataset: Given,
    given: Given,
    *,
    out: Path,
    seed: int = 0,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Fit a diffusion model to the training images; `ltaug fit-generator`.

    Args:
        dataset, given: DatasetOptions and GeneratorOptions by name.
        out: the run directory; an unfinished run of the same options goes on, a finished one is left as it is.
        seed: of the draw and of the training.
        wait: seconds to wait for another process's lock on `out`.

    Raises:
        LtaugError: see errors.py; nothing is overwritten.
    """
    runtime = make_runtime(machine.device, threads=machine.threads)
    options, data = _load(dataset, seed, machine, label or out.name, listener)
    generator = resolve(GeneratorOptions, given, image_side=_side(data.train), where="fit-generator")
    with _open(
        out,
        "fit-generator",
        label=label,
        seed=seed,
        options={"dataset": options, "fit-generator": _plain(generator)},
        inputs={"train": _source(data.train)},
        runtime=runtime,
        listener=listener,
        wait=wait,
    ) as run:
        if not _already_done(run):
            run_generator(data.train, generator, run=run, runtime=runtime, seed=seed)
    return out


def synthesize(
    generator: Path,
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    judges: Sequence[Path] | None = None,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Generate images up to a per-class budget and keep those that pass the selection; `ltaug synthesize`.

    Args:
        generator: a finished fit-generator run; its dataset and draw are the real images here.
        given: SynthesisOptions by name.
        seed: of the images; None takes the generator's.
        judges: classifier runs on the real set, for selection. None trains them under out/judges if selection asks
            for them.
    """
    runtime = make_runtime(machine.device, threads=machine.threads)
    made = read_run(generator, stage="fit-generator", finished=True)
    draw_seed = made["seed"]
    seed = draw_seed if seed is None else seed
    options, data = _load(made["options"]["dataset"], draw_seed, machine, label or out.name, listener)
    real = data.train
    if data.train.digest != made["inputs"]["train"]["digest"]:
        raise MismatchError(f"the training images of {generator} have changed since it was fitted; fit it again")
    chosen = resolve(SynthesisOptions, given, image_side=_side(data.train), where="synthesize")
    budget = parse_budget(chosen.per_class_budget, class_names=real.class_names, class_counts=real.class_counts)
    if judges is None and (chosen.select_agreement or chosen.select_distance):
        folder = out.with_name(f"{out.name}.judges")
        judges = [
            train_judge(
                options, out=folder / f"judge-{i}", seed=draw_seed, index=i, machine=machine, listener=listener, wait=wait
            )
            for i in range(chosen.judges)
        ]
    source = Generator.load(generator, runtime=runtime)
    seen = [Judge.load(path, runtime=runtime) for path in judges or ()]
    with _open(
        out,
        "synthesize",
        label=label,
        seed=seed,
        options={"dataset": options, "synthesize": _plain(chosen), "budget": budget},
        inputs={
            "train": _source(data.train),
            "generator": {"digest": source.digest, "path": _relative(generator, out)},
            "judges": [{"digest": j.digest, "path": _relative(p, out)} for p, j in zip(judges or (), seen, strict=True)],
        },
        runtime=runtime,
        listener=listener,
        wait=wait,
    ) as run:
        if not _already_done(run):
            run_synthesis(source, data.train, seen, chosen, budget=budget, run=run, runtime=runtime, seed=seed)
    return out


def train_judge(
    dataset: Given,
    *,
    out: Path,
    seed: int,
    index: int,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Train judge `index`: a classifier of the real training images alone, by which synthetic ones are selected.

    A judge is logit-adjusted and augmented (recipes.JUDGE); judges differ in their seed. Its test figures are recorded
    as every classifier's are, and take no part in the selection.
    """
    return _train(
        dataset,
        {},
        synthetic=None,
        arm=f"judge-{index}",
        about="",
        judge=True,
        out=out,
        seed=derive_seed(seed, "judge", index),
        draw_seed=seed,
        machine=machine,
        label=label,
        listener=listener,
        wait=wait,
    )


def train_classifier(
    dataset: Given,
    given: Given,
    *,
    synthetic: Path | None = None,
    arm: str = "real",
    about: str = "",
    out: Path,
    seed: int = 0,
    draw_seed: int | None = None,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Train a classifier on the real images, merged with synthetic ones if given, and evaluate it on the test images;
    `ltaug train-classifier`.

    Args:
        dataset, given: DatasetOptions and ClassifierOptions by name.
        synthetic: a finished synthesize run made from the same draw.
        arm, about: what this classifier is called and said to be in the report.
        seed: of the classifier.
        draw_seed: of the long-tailed draw; None takes `seed`.
    """
    return _train(
        dataset,
        given,
        synthetic=synthetic,
        arm=arm,
        about=about,
        judge=False,
        out=out,
        seed=seed,
        draw_seed=seed if draw_seed is None else draw_seed,
        machine=machine,
        label=label,
        listener=listener,
        wait=wait,
    )


def _train(
    dataset: Given,
    given: Given,
    *,
    synthetic: Path | None,
    arm: str,
    about: str,
    judge: bool,
    out: Path,
    seed: int,
    draw_seed: int,
    machine: Machine,
    label: str | None,
    listener: Listener,
    wait: float,
) -> Path:
    runtime = make_runtime(machine.device, threads=machine.threads)
    options, data = _load(dataset, draw_seed, machine, label or out.name, listener)
    side = _side(data.train)
    if judge:
        given = JUDGE | (SMALL_JUDGE if side <= SMALL_SIDE else {})
    chosen = resolve(ClassifierOptions, given, image_side=side, where="train-classifier")
    added, images = None, None
    if synthetic is not None:
        record = read_run(synthetic, stage="synthesize", finished=True)
        if record["inputs"]["train"]["digest"] != data.train.digest:
            raise MismatchError(
                f"{synthetic} was made for another draw of the training images; "
                "give the dataset options and the seed its generator was fitted with"
            )
        images = read_synthetic(synthetic)
        added = {"digest": images.digest, "images": len(images), "path": _relative(synthetic, out)}
    with _open(
        out,
        "train-classifier",
        label=label or f"{arm}/seed-{seed}",
        seed=seed,
        options={
            "arm": arm,
            "about": about,
            "judge": judge,
            "draw_seed": draw_seed,
            "dataset": options,
            "train-classifier": _plain(chosen),
        },
        inputs={"train": _source(data.train), "test": _source(data.test), "synthetic": added},
        runtime=runtime,
        listener=listener,
        wait=wait,
    ) as run:
        if not _already_done(run):
            run_classifier(data.train, data.test, images, chosen, run=run, runtime=runtime, seed=seed)
    return out


def report(
    runs: Sequence[Path],
    *,
    out: Path,
    baseline: str | None = None,
    title: str | None = None,
    machine: Machine = Machine(),  # noqa: B008
    listener: Listener = ignore_events,
) -> Report:
    """Compare the classifiers found under `runs` and write report.html, report.md and report.json; `ltaug report`.

    Args:
        runs: directories searched for finished train-classifier runs.
        baseline: the arm others are compared with [default: the one without synthetic images that changes least].
    """

    def load_train(dataset: Given, seed: int) -> ImageSet:
        return _load(dataset, seed, machine, "report", listener)[1].train

    return build_report(runs, out=out, load_train=load_train, baseline=baseline, title=title, listener=listener)


def inspect(dataset: Given, *, seed: int = 0, machine: Machine = Machine(), listener: Listener = ignore_events) -> dict[str, Any]:  # noqa: B008
    """Counts, groups, imbalance and faults of a dataset as it would be used; `ltaug inspect`."""
    return inspect_dataset(_load(dataset, seed, machine, "inspect", listener)[1])


def _load(dataset: Given, seed: int, machine: Machine, label: str, listener: Listener) -> tuple[dict[str, Any], Dataset]:
    """The dataset and its options as JSON for run.json."""
    options = resolve(DatasetOptions, dataset, image_side=0, where="dataset")
    data = load_dataset(
        options,
        seed=seed,
        data_dir=machine.data_dir,
        download=machine.download,
        skip_bad=machine.skip_bad,
        progress=lambda text, step, total: listener(Event(label, text, step, total)),
    )
    return _plain(options), data


def _open(
    out: Path,
    stage: str,
    *,
    label: str | None,
    seed: int,
    options: Given,
    inputs: Given,
    runtime: Runtime,
    listener: Listener,
    wait: float,
) -> AbstractContextManager[Run]:
    return open_run(
        out,
        stage=stage,
        label=label or out.name,
        seed=seed,
        options=options,
        inputs=inputs,
        versions=versions(),
        device=runtime.describe(),
        listener=listener,
        wait=wait,
    )


def _already_done(run: Run) -> bool:
    if run.finished:
        run.event("Already done.")
    return run.finished


def _plain(options: Any) -> dict[str, Any]:
    """Options as JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(options).items()}


def _side(images: ImageSet) -> int:
    return max(images.image_shape[1:])


def _source(images: ImageSet) -> dict[str, Any]:
    return {"digest": images.digest, "source": images.source, "images": len(images)}


def _relative(path: Path, out: Path) -> str:
    """`path` as seen from the run directory `out`, so that runs may be moved together."""
    return os.path.relpath(path.resolve(), out.resolve())
