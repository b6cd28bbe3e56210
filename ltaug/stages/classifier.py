"""train-classifier, and the classifiers that serve other stages: judges of synthetic images and extractors of features."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ltaug.classifier.judge import Judge
from ltaug.classifier.phases import total_steps
from ltaug.classifier.pretrained import Pretrained, find_pretrained
from ltaug.classifier.stage import run_classifier
from ltaug.data.given import GivenImages, form_of, read_given
from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset, duplicates
from ltaug.data.longtail import resample
from ltaug.data.outside import require_outside
from ltaug.errors import LeakError, MismatchError, OptionError
from ltaug.fields import SMALL_SIDE, plain, resolve
from ltaug.machine import Machine
from ltaug.manifest import KEPT, read_manifest, read_synthetic
from ltaug.meeting import wait_for_run
from ltaug.metrics.copies import SEARCHED_ABOVE, Look
from ltaug.metrics.overlap import LEAK_LIMIT, Overlap, leaked, overlap
from ltaug.options import ClassifierOptions, DatasetOptions, judge_options, judging, teachers_needed
from ltaug.outside import Outside, serving
from ltaug.records import ClassifierRecord, SynthesisRecord
from ltaug.runs import RUN_FILE, Event, Run
from ltaug.runtime import Runtime, derive_seed, for_classifier
from ltaug.stages.opening import Given, How, Job, dataset_options, side_of, source_of

NAMED = 5  # images that leak test images which an error names


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
) -> Path:
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
    added = _to_add(synthetic, resampled_to, data.train, job, seed=seed)
    if teachers is None:
        needed = range(teachers_needed(plain(chosen), synthetic=added is not None))
        teachers = [trained_judge(job, i, plain(drawn), seed=draw_seed, **judging(plain(chosen))) for i in needed]
    taught_by = load_judges(teachers, data.train, runtime=runtime)
    runtime = for_classifier(runtime, job.machine, image_side=side, steps=total_steps(data.train, chosen))
    named = {"arm": arm, "about": about, "judge": given is None, "dataset": plain(drawn), job.stage: plain(chosen)}
    taught = [job.input(judge.digest, path) for judge, path in zip(taught_by, teachers, strict=True)]
    inputs = _inputs(data, draw_seed, added, taught) | outside_input(pretrained, job)
    outside = [*([pretrained.outside] if pretrained else []), *outside_of(teachers, "teacher")]
    if synthetic is not None and (synthetic / RUN_FILE).is_file():
        outside += SynthesisRecord.read(synthetic).outside
    with job.open(runtime, seed=seed, options=named, inputs=inputs, outside=outside) as run:
        if not run.finished:
            look = _look_of(synthetic, taught_by, data.train, runtime)
            _note_images(data, added, run, seed=seed, look=look)
            images, resampled = (None, False) if added is None else (added.images, added.resampled)
            how_fitted: dict[str, Any] = {"resampled": resampled, "teachers": taught_by, "pretrained": pretrained}
            run_classifier(data.train, data.test, images, chosen, run=run, runtime=runtime, seed=seed, **how_fitted)
    return out


@dataclass(frozen=True)
class _Added:
    """What a classifier's real images are merged with."""

    images: ImageSet  # those of `given`, or as many real ones drawn again
    given: GivenImages
    input: dict[str, Any]  # as run.json records it
    mirrored: bool  # mirror images of real ones may be among those given
    resampled: bool


def _to_add(synthetic: Path | None, resampled_to: Path | None, train: ImageSet, job: Job, *, seed: int) -> _Added | None:
    """The images that `train_classifier` adds to the real ones, if any."""
    path = synthetic or resampled_to
    if path is None:
        return None
    given, recorded, mirrored = _synthetic(path, train, job)
    if resampled_to is None:
        return _Added(given.images, given, recorded, mirrored, resampled=False)
    images = resample(train, given.images.class_counts, seed=derive_seed(seed, "resample"))
    return _Added(images, given, recorded, mirrored, resampled=True)


def _inputs(data: Dataset, draw_seed: int, added: _Added | None, taught: list[dict[str, Any]]) -> dict[str, Any]:
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


def _look_of(synthetic: Path | None, teachers: Sequence[Judge], train: ImageSet, runtime: Runtime) -> Look | None:
    """The features in which copies are searched: of the judges of the synthesis, or else the teachers, where there are any."""
    if side_of(train) <= SEARCHED_ABOVE or synthetic is None:
        return None
    made = SynthesisRecord.read(synthetic).judges() if (synthetic / RUN_FILE).is_file() else []
    judges = load_judges([judge.path for judge in made if judge is not None], train, runtime=runtime) or teachers
    return (lambda images: np.concatenate([judge.features(images) for judge in judges], axis=1)) if judges else None


def _note_images(data: Dataset, added: _Added | None, run: Run, *, seed: int, look: Look | None) -> None:
    """Note what is known of the images before the fit; LeakError where synthetic ones show too many test images."""
    if added is not None and not added.resampled:
        _compare(added.given, data, run, seed=seed, mirrored=added.mirrored, look=look)
    same = duplicates(data.train, data.test)
    run.note(duplicates=same, dataset_notes=data.source_notes)
    if same["test_in_train"]:
        run.event(f"{same['test_in_train']} of {len(data.test)} test images are training images too.")


def trained_judge(job: Job, index: int, dataset: Given, *, seed: int, published: Given | None = None) -> Path:
    """Judge `index` of OUT.judges (`train_judge`): trained by the process that leads, waited for by the others."""
    path = job.out.with_name(f"{job.out.name}.judges") / f"judge-{index}"
    if job.place.leads:
        return train_judge(dataset, out=path, seed=seed, index=index, published=published, **job.how(path.name))
    wait_for_run(path, lambda text: job.listener(Event(path.name, text)), finished=True)
    return path


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


def _synthetic(path: Path, train: ImageSet, job: Job) -> tuple[GivenImages, dict[str, Any], bool]:
    """Synthetic images for these training images, the input that run.json records, and whether mirror images may be among them.

    Those of a finished synthesis must have been made for these; of others nothing is known, so their mirror images count too.
    """
    if (path / RUN_FILE).is_file():
        origin, found, mirrored = SynthesisRecord.stage, *synthesized(path, train, job.machine)
    else:
        require_outside(job.out, f"folder:{path}")
        origin, found, mirrored = form_of(path), read_given(path, train, max_pixels=job.machine.max_image_pixels), True
    return found, {**job.input(found.images.digest, path), "images": len(found.images), "origin": origin}, mirrored


def synthesized(run: Path, train: ImageSet, machine: Machine) -> tuple[GivenImages, bool]:
    """The images of a finished synthesis for these training images, and whether mirror images may be among them."""
    made = SynthesisRecord.read(run, finished=True)
    train.require_same_classes(made.class_names, what=str(run))
    if made.train_digest != train.digest:
        raise MismatchError(
            f"{run} was made for another draw of the training images; "
            "give the dataset options and the seed its generator was fitted with"
        )
    generator = made.generator()
    images = read_synthetic(run, machine=machine)
    files = tuple(row.file for row in read_manifest(run) if row.verdict == KEPT)
    return GivenImages(images, files, ()), generator is None or generator.options.flip


def _compare(given: GivenImages, data: Dataset, run: Run, *, seed: int, mirrored: bool, look: Look | None) -> None:
    """Note how near synthetic images come to real ones; raise LeakError where too many show test images."""
    if not (len(given.images) and len(data.test)):
        return  # the fit says what is wrong, if anything is
    run.event("comparing synthetic images with real ones", 0, 1)
    began = time.monotonic()
    found = overlap(given.images, data.train, data.test, seed=derive_seed(seed, "overlap"), mirrored=mirrored, look=look)
    if leaked(found.near_test, found.checked):
        raise LeakError(_leaks(found, given, data.test))
    run.timing("overlap", time.monotonic() - began)
    facts = dataclasses.asdict(found)
    del facts["leaks"]
    run.note(overlap=facts, synthetic_notes=list(given.notes))
    for note in given.notes:
        run.event(note)


def _leaks(found: Overlap, given: GivenImages, test: ImageSet) -> str:
    shown = [
        f"{given.names[one.synthetic]} shows test image {one.real} (class {test.class_names[test.labels[one.real]]})"
        for one in found.leaks[:NAMED]
    ]
    more = f", and {len(found.leaks) - NAMED} more" if len(found.leaks) > NAMED else ""
    return (
        f"{len(found.leaks)} of {found.checked} synthetic images show test images: {100 * found.near_test:.1f} %, where at most "
        f"{100 * LEAK_LIMIT:g} % may, so the test images could not judge the classifier ({'; '.join(shown)}{more}); "
        "remove these images, or make others without the test images"
    )
