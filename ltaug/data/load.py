"""load_dataset: the images that DatasetOptions name, split and drawn; inspect_dataset: what `ltaug inspect` shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.data.cache import Progress
from ltaug.data.groups import class_groups
from ltaug.data.imageset import ImageSet
from ltaug.data.longtail import class_sizes, draw, largest_head, listed, shuffled_ranks
from ltaug.data.sources import Request, Splits
from ltaug.errors import MismatchError, OptionError
from ltaug.machine import Machine
from ltaug.methods import SOURCES, parse_dataset
from ltaug.notebook import html_table
from ltaug.options import DatasetOptions


@dataclass(frozen=True)
class Dataset:
    """A dataset ready for use."""

    train: ImageSet  # after the long-tailed draw
    test: ImageSet  # nothing is tuned on them
    rest: ImageSet | None  # training images that the draw left out, None without a draw; never trained on
    notes: tuple[str, ...]  # what a person should know about how these sets were made, one sentence each
    source_notes: tuple[str, ...]  # those of them that are the same for every draw

    def _repr_html_(self) -> str:
        rows = zip(self.train.class_names, self.train.class_counts, self.test.class_counts, strict=True)
        return html_table(("class", "training images", "test images"), rows)


def load_dataset(
    options: DatasetOptions,
    *,
    seed: int,
    machine: Machine = Machine(),  # noqa: B008
    progress: Progress | None = None,
) -> Dataset:
    """Read, split and draw.

    Args:
        seed: varies the long-tailed draw; the test images are the same for every seed.
        machine: where data lies and how files are read: its data_dir, download, skip_bad, max_image_pixels and verify.
        progress: called with (what is being done, how far, of how many).

    Raises:
        OptionError: no such dataset, or a draw that the images cannot give.
        DataError, MismatchError, CorruptError: see the sources.
    """
    name, argument = parse_dataset(options.dataset)
    splits: Splits = SOURCES[name](Request(argument, options.image_size, options.test_per_class, machine, progress))
    train, test, notes = splits.train, splits.test, list(splits.notes)
    test.require_same_classes(train.class_names, what=f"the training split of {options.dataset}")
    if train.image_shape != test.image_shape:
        shapes = f"training images are {train.image_shape}, test images {test.image_shape}"
        raise MismatchError(f"{options.dataset}: {shapes}; give --image-size")
    if options.test_per_class is not None and not splits.held_out:
        notes.append(f"--test-per-class {options.test_per_class} was not needed: {options.dataset} has a test split")
    rest = None
    if options.imbalance > 1 or options.head is not None:
        sizes = _sizes(train, options, seed)
        index = draw(train.labels, sizes, seed=seed)
        left_out = np.setdiff1d(np.arange(len(train), dtype=np.int64), index)
        notes.append(f"drawn: {len(index)} of {len(train)} training images, {sizes.max()} to {sizes.min()} a class")
        train, rest = train.take(index), train.take(left_out)
    notes += _thin_classes(train, test)
    return Dataset(train, test, rest, tuple(notes), splits.notes)


def _sizes(train: ImageSet, options: DatasetOptions, seed: int) -> npt.NDArray[np.int64]:
    """Images of each class that the draw keeps, int64 (K,)."""
    counts, imbalance, profile = train.class_counts, options.imbalance, options.profile
    if options.class_order == "shuffled":
        ranks = shuffled_ranks(train.num_classes, seed=seed)
        # Any class may come first under another seed, so that all seeds get the same sizes.
        available = np.full_like(counts, counts.min())
    else:
        ranks = np.arange(train.num_classes)
        available = counts
    limit = largest_head(available, imbalance=imbalance, profile=profile)
    uneven = f"; the set itself has {counts.max()} to {counts.min()} images a class" if counts.max() > 2 * counts.min() else ""
    if options.head is not None and options.head > limit:
        asked = f"--head {options.head} with --imbalance {imbalance:g}"
        raise OptionError(f"{asked} is more than the classes can give{uneven}; use --head of at most {limit}")
    head = options.head or limit
    if options.head is None and head < imbalance:
        remedy = "use a smaller one, or leave it at 1 to take the set as it is" if uneven else f"use at most {limit}"
        raise OptionError(f"--imbalance {imbalance:g} is more than the classes can give{uneven}; {remedy}")
    return class_sizes(head, train.num_classes, imbalance=imbalance, profile=profile)[ranks]


def _thin_classes(train: ImageSet, test: ImageSet) -> list[str]:
    notes = []
    single = [name for name, n in zip(train.class_names, train.class_counts, strict=True) if n == 1]
    if single:
        notes.append(f"one training image only: {listed(single)}")
    untested = [name for name, n in zip(test.class_names, test.class_counts, strict=True) if n == 0]
    if untested:
        notes.append(f"no test image, so nothing is measured on: {listed(untested)}")
    return notes


def inspect_dataset(dataset: Dataset) -> dict[str, Any]:
    """Counts, groups, imbalance (the largest class over the smallest), notes, digests and `duplicates` of a dataset."""
    train, test = dataset.train, dataset.test
    groups = class_groups(train.class_counts)
    return {
        "source": train.source,
        "image_shape": list(train.image_shape),
        "classes": list(train.class_names),
        "train": {"images": len(train), "per_class": _per_class(train), "digest": train.digest},
        "test": {"images": len(test), "per_class": _per_class(test), "digest": test.digest},
        "rest": None if dataset.rest is None else {"images": len(dataset.rest)},
        "imbalance": float(train.class_counts.max() / train.class_counts.min()),
        "groups": {name: [train.class_names[c] for c in members] for name, members in groups.members.items()},
        "groups_rule": groups.rule,
        "duplicates": duplicates(train, test),
        "notes": list(dataset.notes),
    }


def duplicates(train: ImageSet, test: ImageSet) -> dict[str, int]:
    """Images with the very same pixels: within_train, each copy after the first, and test_in_train, test images that are also
    training images.
    """
    train_pixels, test_pixels = ([row.tobytes() for row in images.hashes] for images in (train, test))
    distinct = set(train_pixels)
    return {"within_train": len(train_pixels) - len(distinct), "test_in_train": sum(pixels in distinct for pixels in test_pixels)}


def _per_class(images: ImageSet) -> dict[str, int]:
    return dict(zip(images.class_names, images.class_counts.tolist(), strict=True))
