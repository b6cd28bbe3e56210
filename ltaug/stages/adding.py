"""What a classifier's real images are merged with: synthetic images of any origin, or real ones that are drawn again."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.data.given import GivenImages, form_of, read_given
from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset, duplicates
from ltaug.data.longtail import resample
from ltaug.data.outside import require_outside
from ltaug.errors import LeakError, MismatchError
from ltaug.machine import Machine
from ltaug.manifest import KEPT, read_manifest, read_synthetic
from ltaug.metrics.copies import Look
from ltaug.metrics.overlap import LEAK_LIMIT, Overlap, leaked, overlap
from ltaug.records import SynthesisRecord
from ltaug.runs import RUN_FILE, Run
from ltaug.runtime import derive_seed
from ltaug.stages.opening import Job

NAMED = 5  # images that leak test images which an error names


@dataclass(frozen=True)
class Added:
    """What a classifier's real images are merged with."""

    images: ImageSet  # those of `given`, or as many real ones drawn again
    given: GivenImages
    input: dict[str, Any]  # as run.json records it
    mirrored: bool  # mirror images of real ones may be among those given
    resampled: bool


def to_add(synthetic: Path | None, resampled_to: Path | None, train: ImageSet, job: Job, *, seed: int) -> Added | None:
    """The images that `train_classifier` adds to the real ones, if any."""
    path = synthetic or resampled_to
    if path is None:
        return None
    given, recorded, mirrored = _synthetic(path, train, job)
    if resampled_to is None:
        return Added(given.images, given, recorded, mirrored, resampled=False)
    images = resample(train, given.images.class_counts, seed=derive_seed(seed, "resample"))
    return Added(images, given, recorded, mirrored, resampled=True)


def note_images(data: Dataset, added: Added | None, run: Run, *, seed: int, look: Look | None) -> None:
    """Note what is known of the images before the fit; LeakError where synthetic ones show too many test images."""
    if added is not None and not added.resampled:
        _compare(added.given, data, run, seed=seed, mirrored=added.mirrored, look=look)
    same = duplicates(data.train, data.test)
    run.note(duplicates=same, dataset_notes=data.source_notes)
    if same["test_in_train"]:
        run.event(f"{same['test_in_train']} of {len(data.test)} test images are training images too.")


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
