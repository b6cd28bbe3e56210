"""Cross-fitting: each real training image is judged by a classifier that was trained without it."""

from __future__ import annotations

import dataclasses
import shutil
import time

import numpy as np

from ltaug.classifier.fit import fit_classifier
from ltaug.classifier.pretrained import Pretrained
from ltaug.classifier.stage import CHECKPOINTS, look_at
from ltaug.data.imageset import ImageSet, Labels
from ltaug.files import atomic_write
from ltaug.options import ClassifierOptions
from ltaug.records import HELD_OUT_FILE
from ltaug.runs import Run
from ltaug.runtime import Runtime

NEVER = -1  # in place of a fold: the image is always trained on


def folds_of(labels: Labels, folds: int, *, seed: int) -> Labels:
    """The fold that holds out each image, int64 (N,), stratified by class.

    A class with fewer images than folds is held out by as many folds as it has images, one image each, so that some of it is
    always left to train on. The only image of a class is NEVER held out.
    """
    counts = np.bincount(labels)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    held = by_class[counts[labels[by_class]] > 1]
    found = np.full(len(labels), NEVER, np.int64)
    found[held] = np.arange(len(held)) % folds
    return found


def run_cross_fit(
    train: ImageSet,
    synthetic: ImageSet | None,
    nearest: Labels,
    options: ClassifierOptions,
    *,
    pretrained: Pretrained | None,
    fold_of: Labels,
    fold: int,
    run: Run,
    runtime: Runtime,
    seed: int,
) -> None:
    """Fill `run` with the predictions for the images of one fold, by a classifier of all others; finish it.

    The generator has seen the held-out images, and what it copied from one would give that one away. So the classifier gets
    no synthetic image whose nearest real image is held out, and no teachers, which have seen all real images.

    Args:
        nearest: int64 (N_synthetic,), the nearest real image of each synthetic one.
        fold_of: see `folds_of`.

    Raises:
        OptionError: an unknown name, or a fit that diverged.
        CorruptError: the checkpoint to resume from is damaged.
    """
    held, others = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
    used = None if synthetic is None else synthetic.take(np.flatnonzero(fold_of[nearest] != fold))
    network, took = fit_classifier(
        train.take(others),
        dataclasses.replace(options, distill="none"),
        synthetic=used,
        pretrained=pretrained,
        seed=seed,
        runtime=runtime,
        on_step=lambda step, total, values: run.event("training the classifier", step, total, **values),
        checkpoints=run.path / CHECKPOINTS,
    )
    run.timing("fit", took.warm_up + took.steps)
    started = time.monotonic()
    predicted = look_at(network, train.take(held).images, options, runtime).argmax(axis=1)
    run.timing("evaluate", time.monotonic() - started)
    with atomic_write(run.path / HELD_OUT_FILE) as file:
        np.savez(file, index=held, labels=train.labels[held], predicted=predicted)
    run.note(held_out=len(held), trained_on=len(others), synthetic=0 if used is None else len(used))
    run.finish([HELD_OUT_FILE])
    shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)
