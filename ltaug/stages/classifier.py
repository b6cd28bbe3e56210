"""train-classifier, and the classifiers that serve other stages: judges of synthetic images and extractors of features."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ltaug.classifier.fit import total_steps
from ltaug.classifier.stage import run_classifier
from ltaug.data.imageset import ImageSet
from ltaug.errors import MismatchError
from ltaug.fields import SMALL_SIDE, plain, resolve
from ltaug.options import JUDGE, SMALL_JUDGE, ClassifierOptions, DatasetOptions, Machine
from ltaug.records import SynthesisRecord
from ltaug.runs import Listener, ignore_events
from ltaug.runtime import derive_seed, for_classifier, make_runtime
from ltaug.stages.opening import (
    Given,
    already_done,
    dataset_options,
    load_data,
    open_stage,
    relative_to,
    side_of,
    source_of,
)
from ltaug.synthesis.manifest import read_synthetic


class How(TypedDict, total=False):
    """What every stage is told besides its work: see train_classifier."""

    machine: Machine
    label: str | None
    listener: Listener
    wait: float


def train_judge(dataset: Given, *, out: Path, seed: int, index: int, **how: Unpack[How]) -> Path:
    """Train judge `index`: a classifier of the real training images alone, by which synthetic ones are selected.

    Judges differ in their seed. Their test figures are recorded as every classifier's are, and take no part in the selection.
    """
    own_seed = derive_seed(seed, "judge", index)
    return train_classifier(dataset, None, arm=f"judge-{index}", out=out, seed=own_seed, draw_seed=seed, **how)


def train_extractor(dataset: Given, *, out: Path, seed: int = 0, **how: Unpack[How]) -> Path:
    """Train the classifier whose features generators are evaluated with: a judge's training, on the set before the draw.

    It is a measuring device, so it may see what the draw left out; nothing that is evaluated is trained on what it says.
    The draw's seed does not concern it: one serves all draws from a set.
    """
    return train_classifier(plain(without_draw(dataset_options(dataset))), None, arm="extractor", out=out, seed=seed, **how)


def without_draw(dataset: DatasetOptions) -> DatasetOptions:
    """The whole set that the long-tailed draw is made from; equal for all draws from it."""
    undrawn = DatasetOptions()
    names = ("imbalance", "head", "profile", "class_order")
    return dataclasses.replace(dataset, **{name: getattr(undrawn, name) for name in names})


def train_classifier(
    dataset: Given,
    given: Given | None,
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
        dataset, given: DatasetOptions and ClassifierOptions by name. `given` None trains a judge, logit-adjusted and augmented
            (options.JUDGE), which reports leave out.
        synthetic: a finished synthesize run made from the same draw.
        arm, about: what this classifier is called and said to be in the report.
        seed: of the classifier.
        draw_seed: of the long-tailed draw; None takes `seed`.
        wait: seconds to wait for another process's lock on `out`.
    """
    runtime = make_runtime(machine.device, threads=machine.threads)
    draw_seed = seed if draw_seed is None else draw_seed
    drawn = dataset_options(dataset)
    data = load_data(drawn, draw_seed, machine, label or out.name, listener)
    side = side_of(data.train)
    judge = JUDGE | (SMALL_JUDGE if side <= SMALL_SIDE else {})
    chosen = resolve(ClassifierOptions, judge if given is None else given, image_side=side, where="train-classifier")
    images, added = (None, None) if synthetic is None else _synthetic(synthetic, data.train, out)
    merged = len(data.train) + (0 if images is None else len(images))
    steps = total_steps(merged, steps=chosen.steps, epochs=chosen.epochs, batch_size=chosen.batch_size)
    runtime = for_classifier(runtime, machine, image_side=side, steps=steps)
    with open_stage(
        out,
        "train-classifier",
        label=label or f"{arm}/seed-{seed}",
        seed=seed,
        options={
            "arm": arm,
            "about": about,
            "judge": given is None,
            "dataset": plain(drawn),
            "train-classifier": plain(chosen),
        },
        inputs={"train": {**source_of(data.train), "draw_seed": draw_seed}, "test": source_of(data.test), "synthetic": added},
        runtime=runtime,
        listener=listener,
        log=machine.log,
        wait=wait,
    ) as run:
        if not already_done(run):
            run_classifier(data.train, data.test, images, chosen, run=run, runtime=runtime, seed=seed)
    return out


def _synthetic(run: Path, train: ImageSet, out: Path) -> tuple[ImageSet, dict[str, Any]]:
    """The images of a finished synthesis that was made for these training images, and the input that run.json records."""
    made = SynthesisRecord.read(run, finished=True)
    train.require_same_classes(made.class_names, what=str(run))
    if made.train_digest != train.digest:
        raise MismatchError(
            f"{run} was made for another draw of the training images; "
            "give the dataset options and the seed its generator was fitted with"
        )
    images = read_synthetic(run)
    return images, {"digest": images.digest, "images": len(images), "path": relative_to(run, out)}
