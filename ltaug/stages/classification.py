"""train-classifier, and the judges that selection asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltaug.classifier.fit import total_steps
from ltaug.classifier.stage import run_classifier
from ltaug.errors import MismatchError
from ltaug.fields import SMALL_SIDE, resolve
from ltaug.options import JUDGE, SMALL_JUDGE, ClassifierOptions, DatasetOptions, Machine
from ltaug.runs import Listener, ignore_events, read_run
from ltaug.runtime import derive_seed, for_classifier, make_runtime
from ltaug.stages.opening import Given, already_done, load_data, open_stage, plain, relative_to, side_of, source_of
from ltaug.synthesis.manifest import read_synthetic


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

    A judge is logit-adjusted and augmented (options.JUDGE); judges differ in their seed. Its test figures are recorded
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


def train_extractor(
    dataset: Given,
    *,
    out: Path,
    seed: int = 0,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Train the classifier in whose eyes generators are evaluated: a judge's training, on the set before the draw.

    It is a measuring device, so it may see what the draw left out; nothing that is evaluated is trained on what it says.
    The draw's seed does not concern it: one serves all draws from a set.
    """
    return _train(
        without_draw(dataset),
        {},
        synthetic=None,
        arm="extractor",
        about="",
        judge=True,
        out=out,
        seed=seed,
        draw_seed=seed,
        machine=machine,
        label=label,
        listener=listener,
        wait=wait,
    )


def without_draw(dataset: Given) -> dict[str, Any]:
    """The dataset's options for the whole set that the long-tailed draw is made from; equal for all draws from it."""
    options = plain(resolve(DatasetOptions, dataset, image_side=0, where="dataset"))
    undrawn = plain(DatasetOptions())
    return options | {name: undrawn[name] for name in ("imbalance", "head", "profile", "class_order")}


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
    options, data = load_data(dataset, draw_seed, machine, label or out.name, listener)
    side = side_of(data.train)
    if judge:
        given = JUDGE | (SMALL_JUDGE if side <= SMALL_SIDE else {})
    chosen = resolve(ClassifierOptions, given, image_side=side, where="train-classifier")
    added, images = None, None
    if synthetic is not None:
        record = read_run(synthetic, stage="synthesize", finished=True)
        data.train.require_same_classes(tuple(record["facts"]["class_names"]), what=str(synthetic))
        if record["inputs"]["train"]["digest"] != data.train.digest:
            raise MismatchError(
                f"{synthetic} was made for another draw of the training images; "
                "give the dataset options and the seed its generator was fitted with"
            )
        images = read_synthetic(synthetic)
        added = {"digest": images.digest, "images": len(images), "path": relative_to(synthetic, out)}
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
            "judge": judge,
            "dataset": options,
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
