"""train-classifier, and the classifiers that serve other stages: judges of synthetic images and extractors of features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ltaug.classifier.judge import Judge
from ltaug.classifier.phases import total_steps
from ltaug.classifier.pretrained import Pretrained, find_pretrained
from ltaug.classifier.stage import run_classifier
from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset
from ltaug.errors import MismatchError, OptionError
from ltaug.fields import SMALL_SIDE, plain, resolve
from ltaug.metrics.copies import SEARCHED_ABOVE, Look
from ltaug.options import ClassifierOptions, DatasetOptions, judge_options, judging, teachers_needed
from ltaug.outside import Outside, serving
from ltaug.records import ClassifierRecord, SynthesisRecord
from ltaug.runs import RUN_FILE
from ltaug.runtime import Runtime, derive_seed, for_classifier
from ltaug.stages.adding import Added, note_images, to_add
from ltaug.stages.made import RunPath
from ltaug.stages.opening import Given, How, Job, dataset_options, side_of, source_of


def train_judge(dataset: Given, *, out: Path, seed: int, index: int, published: Given | None = None, **how: Unpack[How]) -> Path:
    """Train judge `index`: a classifier of the real training images alone, by which synthetic ones are selected.

    Judges differ in their seed, and neighbours in their loss. Their test figures are recorded as every classifier's are, and take
    no part in the selection.

    Args:
        published: the options model and pretrained of published weights that the judge is a probe of [default: it starts from
            random ones].
    """
    own_seed = derive_seed(seed, "judge", index)
    named: dict[str, Any] = {"arm": f"judge-{index}", "seed": own_seed, "draw_seed": seed}
    named |= {"judge_index": index, "published": published}
    return train_classifier(dataset, None, out=out, **named, **how)


def train_extractor(dataset: Given, *, out: Path, seed: int = 0, published: Given | None = None, **how: Unpack[How]) -> Path:
    """Train the classifier whose features generators are evaluated with: a judge's training, on the set before the draw.

    It is a measuring device, so it may see what the draw left out; nothing that is evaluated is trained on what it says.
    The draw's seed does not concern it: one serves all draws from a set.
    """
    whole = plain(without_draw(dataset_options(dataset)))
    return train_classifier(whole, None, arm="extractor", published=published, out=out, seed=seed, **how)


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
    resampled_to: Path | None = None,
    teachers: Sequence[Path] | None = None,
    arm: str = "real",
    about: str = "",
    out: Path,
    seed: int = 0,
    draw_seed: int | None = None,
    judge_index: int = 0,
    published: Given | None = None,
    **how: Unpack[How],
) -> RunPath:
    """Train a classifier on the real images, merged with synthetic ones if given, and evaluate it on the test images;
    `ltaug train-classifier`.

    Args:
        dataset, given: DatasetOptions and ClassifierOptions by name. `given` None trains a judge, logit-adjusted and augmented
            (options.judge_options), which reports leave out.
        synthetic: a finished synthesize run made from the same draw, or images of any origin (data.given).
        resampled_to: synthetic images (as `synthetic`) in whose place as many real images of every class are drawn again: the
            control that differs in nothing but what the added images show.
        teachers: classifier runs of the same real images, for distillation. None trains them beside `out`, in OUT.judges, if
            the options ask for any.
        arm, about: what this classifier is called and said to be in the report.
        seed: of the classifier.
        draw_seed: of the long-tailed draw; None takes `seed`.
        judge_index, published: of a judge: its index decides on its loss; the weights it is a probe of (`train_judge`).
        how: machine, label [default: ARM/seed-SEED], listener and wait (stages.opening.How).

    Raises:
        OptionError: both `synthetic` and `resampled_to`.
        MismatchError: a teacher was trained on synthetic images, or on another draw.
        LeakError: synthetic images show test images (metrics.overlap); nothing is trained.
    """
    if synthetic is not None and resampled_to is not None:
        raise OptionError(f"synthetic = {synthetic} does not go with resampled_to = {resampled_to}; give one of them")
    how["label"] = how.get("label") or f"{arm}/seed-{seed}"
    job = Job("train-classifier", out, **how)
    job.check(given or {})
    runtime = job.runtime()
    draw_seed = seed if draw_seed is None else draw_seed
    drawn = dataset_options(dataset)
    data = job.load(drawn, draw_seed)
    side = side_of(data.train)
    asked = judge_options(judge_index, small=side <= SMALL_SIDE, published=published or {}) if given is None else given
    chosen = resolve(ClassifierOptions, asked, image_side=side, where=job.stage)
    pretrained = find_pretrained(chosen.pretrained, model=chosen.model, download=job.machine.download, tell=job.tell)
    added = to_add(synthetic, resampled_to, data.train, job, seed=seed)
    if teachers is None:
        needed = range(teachers_needed(plain(chosen), synthetic=added is not None))
        teachers = [trained_judge(job, i, plain(drawn), seed=draw_seed, **judging(plain(chosen))) for i in needed]
    taught_by = load_judges(teachers, data.train, runtime=runtime)
    runtime = for_classifier(runtime, job.machine, image_side=side, steps=total_steps(data.train, chosen))
    named = {"arm": arm, "about": about, "judge": given is None, "dataset": plain(drawn), job.stage: plain(chosen)}
    taught = [job.input(judge.digest, path) for judge, path in zip(taught_by, teachers, strict=True)]
    inputs = _inputs(data, draw_seed, added, taught) | outside_input(pretrained, job)
    outside = _outside(pretrained, teachers, synthetic)
    with job.open(runtime, seed=seed, options=named, inputs=inputs, outside=outside) as run:
        if not run.finished:
            look = _look_of(synthetic, taught_by, data.train, runtime)
            note_images(data, added, run, seed=seed, look=look)
            images, resampled = (None, False) if added is None else (added.images, added.resampled)
            how_fitted: dict[str, Any] = {"resampled": resampled, "teachers": taught_by, "pretrained": pretrained}
            run_classifier(data.train, data.test, images, chosen, run=run, runtime=runtime, seed=seed, **how_fitted)
    return RunPath(out)


def _inputs(data: Dataset, draw_seed: int, added: Added | None, taught: list[dict[str, Any]]) -> dict[str, Any]:
    """The inputs that run.json records."""
    kind = "resampled_to" if added is not None and added.resampled else "synthetic"
    inputs = {
        "train": {**source_of(data.train), "draw_seed": draw_seed},
        "test": source_of(data.test),
        kind: None if added is None else added.input,
    }
    return inputs | ({"teachers": taught} if taught else {})


def outside_input(pretrained: Pretrained | None, job: Job) -> dict[str, Any]:
    """The published weights as an input that run.json records, where there are any."""
    return {"pretrained": job.input(pretrained.digest, pretrained.path)} if pretrained else {}


def outside_of(classifiers: Sequence[Path], role: str) -> list[Outside]:
    """The outside weights behind classifiers, in the role that these have here."""
    return [one for path in classifiers for one in serving(role, ClassifierRecord.read(path).outside)]


def _outside(pretrained: Pretrained | None, teachers: Sequence[Path], synthetic: Path | None) -> list[Outside]:
    """The outside weights behind a classifier: its own, those of its teachers and those of its synthetic images."""
    own = [pretrained.outside] if pretrained else []
    made = SynthesisRecord.read(synthetic).outside if synthetic is not None and (synthetic / RUN_FILE).is_file() else ()
    return [*own, *outside_of(teachers, "teacher"), *made]


def _look_of(synthetic: Path | None, teachers: Sequence[Judge], train: ImageSet, runtime: Runtime) -> Look | None:
    """The features in which copies are searched: of the judges of the synthesis, or else the teachers, where there are any."""
    if side_of(train) <= SEARCHED_ABOVE or synthetic is None:
        return None
    made = SynthesisRecord.read(synthetic).judges() if (synthetic / RUN_FILE).is_file() else []
    judges = load_judges([judge.path for judge in made if judge is not None], train, runtime=runtime) or teachers
    return (lambda images: np.concatenate([judge.features(images) for judge in judges], axis=1)) if judges else None


def trained_judge(job: Job, index: int, dataset: Given, *, seed: int, published: Given | None = None) -> Path:
    """Judge `index` of OUT.judges (`train_judge`)."""
    path = job.out.with_name(f"{job.out.name}.judges") / f"judge-{index}"
    return train_judge(dataset, out=path, seed=seed, index=index, published=published, **job.how(path.name))


def load_judges(paths: Sequence[Path], train: ImageSet, *, runtime: Runtime) -> list[Judge]:
    """Classifiers that judge or teach, each of these real images alone.

    Raises:
        MismatchError: one was trained on synthetic images or on another draw.
    """
    for path in paths:
        record = ClassifierRecord.read(path, finished=True)
        if record.synthetic_run is not None or record.resampled_counts is not None:
            raise MismatchError(
                f"{path} was trained on more than real images, all that judges and teachers may see; give another"
            )
        if record.train_digest != train.digest:
            raise MismatchError(f"{path} was trained on other images than {train.source}; give one of its dataset, draw and seed")
    return [Judge.load(path, runtime=runtime) for path in paths]
