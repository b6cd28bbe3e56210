"""cross-fit: one fold of a round of `ltaug grow`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ltaug.classifier.crossfit import folds_of, run_cross_fit
from ltaug.classifier.phases import total_steps
from ltaug.classifier.pretrained import find_pretrained
from ltaug.classifier.stage import require_tested
from ltaug.errors import OptionError
from ltaug.fields import plain, resolve
from ltaug.manifest import KEPT, read_manifest
from ltaug.options import ClassifierOptions
from ltaug.records import SynthesisRecord
from ltaug.runtime import derive_seed, for_classifier
from ltaug.stages.adding import synthesized
from ltaug.stages.classifier import outside_input
from ltaug.stages.opening import Given, How, Job, side_of, source_of


def cross_fit(
    generator: Path,
    given: Given,
    *,
    number: int,
    repeat: int,
    repeats: int,
    fold: int,
    folds: int,
    synthetic: Path | None = None,
    out: Path,
    seed: int,
    **how: Unpack[How],
) -> Path:
    """Train a classifier on the real images of all folds but one, with synthetic images, and predict that fold's.

    Test images are counted, since the end of `ltaug grow` needs some, and not looked at. Equal folds and
    repetitions of two rounds share their images and the seed of their classifier, so that rounds are paired.

    Args:
        generator: a finished fit-generator run; its dataset and draw are the real images here.
        given: ClassifierOptions by name.
        number: of the round, for the report.
        repeat, repeats: which of how many repetitions, each with other folds.
        fold, folds: which of how many.
        synthetic: a finished synthesize run of this generator.
        seed: of the folds and the classifier.

    Raises:
        OptionError: more folds than images that can be held out.
        DataError: the dataset has no test images.
        MismatchError: the synthetic images were made for others than these.
    """
    job = Job("cross-fit", out, **how)
    runtime = job.runtime()
    made, data = job.load_origin(generator)
    require_tested(data.test)
    train, name = data.train, "train-classifier"
    chosen = resolve(ClassifierOptions, given, image_side=side_of(train), where=name)
    pretrained = find_pretrained(chosen.pretrained, model=chosen.model, download=job.machine.download, tell=job.tell)
    fold_of = folds_of(train.labels, folds, seed=derive_seed(seed, "folds", repeat))
    able = np.count_nonzero(fold_of >= 0)
    if folds > able:
        held = f"of which {able} can be held out (never the only one of a class)"
        raise OptionError(f"--folds {folds} is more than {train.source} has images for: {len(train)}, {held}; use fewer")
    images, nearest, added = None, np.zeros(0, np.int64), None
    if synthetic is not None:
        images = synthesized(synthetic, train, job.machine)[0].images
        nearest = np.array([row.nearest_real for row in read_manifest(synthetic) if row.verdict == KEPT], np.int64)
        added = {**job.input(images.digest, synthetic), "images": len(images)}
    runtime = for_classifier(runtime, job.machine, image_side=side_of(train), steps=total_steps(train, chosen))
    told: dict[str, Any] = {"round": number, "repeat": repeat, "repeats": repeats, "fold": fold, "folds": folds}
    told |= {"dataset": plain(made.dataset), name: plain(chosen)}
    inputs = {"train": source_of(train), "synthetic": added, **outside_input(pretrained, job)}
    outside = [*([pretrained.outside] if pretrained else []), *(SynthesisRecord.read(synthetic).outside if synthetic else [])]
    with job.open(runtime, seed=seed, options=told, inputs=inputs, outside=outside) as run:
        if not run.finished:
            run.note(class_names=train.class_names)
            if synthetic is not None:
                record = SynthesisRecord.read(synthetic)
                run.note(wanted=record.wanted, kept=record.kept)
            own: dict[str, Any] = {"pretrained": pretrained, "run": run, "runtime": runtime}
            own["seed"] = derive_seed(seed, "cross-fit", repeat, fold)
            run_cross_fit(train, images, nearest, chosen, fold_of=fold_of, fold=fold, **own)
    return out
