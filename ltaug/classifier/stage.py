"""The train-classifier stage: fit on real and synthetic images, evaluate on the test set, fill a run directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from ltaug.classifier.fit import fit_classifier, require_like
from ltaug.classifier.judge import WEIGHTS_FILE, Floats, Judge, probabilities, save_weights
from ltaug.classifier.phases import total_steps
from ltaug.classifier.pretrained import Pretrained
from ltaug.data.groups import Groups, class_groups
from ltaug.data.imageset import AnyImages, ImageSet
from ltaug.errors import DataError, OptionError
from ltaug.files import atomic_write, write_json
from ltaug.methods import LOSSES
from ltaug.metrics.recognition import confusion, per_class, recognition
from ltaug.options import ClassifierOptions
from ltaug.records import METRICS_FILE, PREDICTIONS_FILE
from ltaug.runs import Run
from ltaug.runtime import Runtime

CHECKPOINTS = "checkpoints"


def run_classifier(
    train: ImageSet,
    test: ImageSet,
    synthetic: ImageSet | None,
    options: ClassifierOptions,
    *,
    run: Run,
    runtime: Runtime,
    seed: int,
    resampled: bool = False,
    teachers: Sequence[Judge] = (),
    pretrained: Pretrained | None = None,
) -> None:
    """Fill `run` with weights.safetensors, predictions.npz, metrics.json and the facts of the training set; finish it.

    Args:
        resampled: `synthetic` are real images drawn again (data.longtail.resample), and recorded as such.
        teachers: classifiers of the real images; asked for where `options.distill` names any images.
        pretrained: the weights that it starts from, if `options.pretrained` names any.

    A fit writes a checkpoint every fit.CHECKPOINT_EVERY steps and when it is told to stop, and resumes from the last one.

    Raises:
        DataError: the training or the test set is empty.
        MismatchError: test or synthetic images have other classes or another shape than the training images.
        OptionError: an unknown name, a model or augmentation that cannot take these images, distillation without teachers; a fit
            that diverged.
        CorruptError: the checkpoint to resume from or the published weights are damaged.
    """
    require_tested(test)
    require_like(train, test)
    groups = class_groups(train.class_counts)
    added = None if synthetic is None else synthetic.class_counts.tolist()
    run.note(
        class_counts=train.class_counts.tolist(),
        synthetic_counts=None if resampled else added,
        resampled_counts=added if resampled else None,
        steps=total_steps(train, options),
        groups={name: list(members) for name, members in groups.members.items()},
        rule=groups.rule,
    )

    network, took = fit_classifier(
        train,
        options,
        synthetic=synthetic,
        teachers=teachers,
        pretrained=pretrained,
        seed=seed,
        runtime=runtime,
        on_step=lambda step, total, values: run.event("training the classifier", step, total, **values),
        checkpoints=run.path / CHECKPOINTS,
        tell=run.event,
    )
    run.timing("warm-up", took.warm_up)
    run.timing("fit", took.steps)
    started = time.monotonic()
    found = look_at(network, test.images, options, runtime)
    run.timing("evaluate", time.monotonic() - started)

    head = LOSSES.about(options.loss).head
    save_weights(run.path / WEIGHTS_FILE, network, name=options.model, head=head, train=train)
    with atomic_write(run.path / PREDICTIONS_FILE) as file:
        np.savez(file, probabilities=found, labels=test.labels, class_names=np.array(train.class_names))
    write_json(run.path / METRICS_FILE, measure(test, found, groups))
    run.finish([WEIGHTS_FILE, PREDICTIONS_FILE, METRICS_FILE])
    shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)


def require_tested(test: ImageSet) -> None:
    """Raise DataError where there are no test images."""
    if len(test) == 0:
        raise DataError(f"{test.source} has no test images; hold some out with --test-per-class")


def look_at(network: nn.Module, images: AnyImages, options: ClassifierOptions, runtime: Runtime) -> Floats:
    """Class probabilities of uint8 images (N, C, H, W), float32 (N, K); OptionError where the fit diverged."""
    found = probabilities(network, images, runtime=runtime)
    if not np.isfinite(found).all():
        raise OptionError(
            f"the classifier diverged with --lr {options.lr:g}: its probabilities are not finite; use a smaller --lr"
        )
    return found


def measure(test: ImageSet, found: Floats, groups: Groups) -> dict[str, Any]:
    """The contents of metrics.json, given the test images' class probabilities (N, K)."""
    predicted = found.argmax(axis=1)
    names = test.class_names
    tested = np.flatnonzero(test.class_counts)
    return {
        "summary": recognition(test.labels, found, groups=groups.members),
        "per_class": per_class(test.labels, predicted, test.num_classes),
        "confusion": confusion(test.labels, predicted, test.num_classes),
        "class_names": list(names),
        "groups": {name: list(members) for name, members in groups.members.items()},
        "rule": groups.rule,
        "never_predicted": [names[c] for c in np.setdiff1d(tested, predicted)],
    }
