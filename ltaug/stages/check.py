"""What the stages of an experiment are asked to do, checked against the dataset before the first of them begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import Batch, to_input
from ltaug.classifier.phases import build_for
from ltaug.classifier.pretrained import find_pretrained
from ltaug.data.budgets import parse_budget
from ltaug.data.imageset import ImageSet
from ltaug.evaluation.extractors import weights_of
from ltaug.fields import resolve
from ltaug.generator.finding import find_named
from ltaug.generator.fit import build_denoiser
from ltaug.generator.objectives import require_whole_batches
from ltaug.machine import Machine
from ltaug.methods import extractor_of
from ltaug.options import STAGES, ClassifierOptions, EvaluationOptions, GeneratorOptions, SynthesisOptions
from ltaug.records import ClassifierRecord
from ltaug.runs import Listener, ignore_events
from ltaug.stages.evaluation import CLASSIFIER, weights_folder
from ltaug.stages.opening import Given, dataset_options, load_data, side_of

Asked = tuple[str, Given, Given, Given | None]  # stage, dataset options, the stage's own, those of the generator it samples


def check_stages(
    asked: Sequence[Asked],
    *,
    seed: int,
    machine: Machine = Machine(),  # noqa: B008
    listener: Listener = ignore_events,
) -> None:
    """Refuse what no stage could do, without computing anything: networks are built without weights, budgets are counted.

    Args:
        asked: stage, dataset options, the stage's options and those of the generator that it samples from, as given.
        seed: of the draw whose images are looked at.

    Raises:
        LtaugError: as the stage itself would.
    """
    drawn: dict[str, ImageSet] = {}
    for stage, dataset, given, _ in asked:
        options = dataset_options(dataset)
        train = drawn.get(repr(options)) or load_data(options, seed, machine, "check", listener).train
        drawn[repr(options)] = train
        CHECKS[stage](resolve(STAGES[stage], given, image_side=side_of(train), where=stage), train, machine)


def _generator(options: GeneratorOptions, train: ImageSet, machine: Machine) -> None:
    require_whole_batches(options, machine.micro_batch, images=options.batch_size)
    pipeline = find_named(options, machine.download)
    with torch.device("meta"):
        build_denoiser(options, image_shape=train.image_shape, num_classes=train.num_classes, pipeline=pipeline)


def _synthesis(options: SynthesisOptions, train: ImageSet, machine: Machine) -> None:
    parse_budget(options.per_class_budget, class_names=train.class_names, class_counts=train.class_counts)


def _evaluation(options: EvaluationOptions, train: ImageSet, machine: Machine) -> None:
    name, run = extractor_of(options.extractor)
    if run:
        ClassifierRecord.read(Path(run), finished=True)
    elif name != CLASSIFIER:
        folder = weights_folder(machine)
        weights_of(name, weights=None, folder=folder, download=machine.download, tell=lambda text, step, total: None)


def _classifier(options: ClassifierOptions, train: ImageSet, machine: Machine) -> None:
    pretrained = find_pretrained(options.pretrained, model=options.model, download=machine.download, tell=lambda text: None)
    with torch.device("meta" if pretrained is None else "cpu"):
        build_for(options, train, pretrained)
    rows = np.zeros(2, np.int64)
    images, classes = (torch.from_numpy(part[rows]) for part in (train.images, train.labels))
    counts = torch.from_numpy(np.stack([train.class_counts] * 2))
    build_augmentation(options)(Batch(to_input(images), classes, torch.zeros_like(classes), counts))


CHECKS: dict[str, Callable[[Any, ImageSet, Machine], None]] = {
    "fit-generator": _generator,
    "synthesize": _synthesis,
    "evaluate-generator": _evaluation,
    "train-classifier": _classifier,
}
