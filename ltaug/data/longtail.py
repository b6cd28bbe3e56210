"""The long-tailed draw: how many images each class keeps, and which ones; and how they are drawn again to other counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import ImageSet, Labels
from ltaug.errors import OptionError

_CLASS_ORDER_STREAM = 1  # second seed word of the class order's own stream; the draw's stream has none
_MAX_SEED = 2**32 - 1


def class_sizes(head: int, num_classes: int, *, imbalance: float, profile: str) -> npt.NDArray[np.int64]:
    """Images per class, largest first, int64 (K,).

    With f = 1 / imbalance: "exp" gives int(head * f^(c / (K - 1))) to class c, "step" gives head to the first K // 2
    classes and int(head * f) to the others (Cui et al., CVPR 2019; Cao et al., NeurIPS 2019).

    Raises:
        OptionError: a class would get no image, or there is one class only.
    """
    assert profile in ("exp", "step")
    assert imbalance >= 1
    sizes = _sizes(head, num_classes, imbalance, profile)
    if num_classes < 2 and imbalance > 1:
        raise OptionError(f"--imbalance {imbalance:g} needs at least 2 classes, there is {num_classes}; leave it at 1")
    if sizes.min() < 1:
        raise OptionError(
            f"--imbalance {imbalance:g} leaves the smallest class no image when the largest has {head}; "
            f"use --imbalance of at most {head} or --head of at least {int(np.ceil(imbalance))}"
        )
    return sizes


def _sizes(head: int, num_classes: int, imbalance: float, profile: str) -> npt.NDArray[np.int64]:
    position = np.arange(num_classes) / max(num_classes - 1, 1)
    if profile == "step":
        position = (np.arange(num_classes) >= num_classes // 2).astype(np.float64)
    # The tolerance keeps 49 * (1 / 49) = 0.99999... at 1; it is far below what the published counts could notice.
    return np.floor(head * (1 / imbalance) ** position + 1e-9).astype(np.int64)


def largest_head(counts: npt.NDArray[np.int64], *, imbalance: float, profile: str) -> int:
    """The largest `head` whose sizes every class can give; 0 when there is none.

    Args:
        counts: available images per class, int64 (K,), in the order of the sizes (largest class first).
    """

    def too_many(head: int) -> bool:
        return bool((_sizes(head, len(counts), imbalance, profile) > counts).any())

    return bisect_left(range(1, int(counts.max(initial=0)) + 1), True, key=too_many)


def shuffled_ranks(num_classes: int, *, seed: int) -> npt.NDArray[np.int64]:
    """For each class its place from largest (0) to smallest, drawn by the seed from a stream of its own, int64 (K,)."""
    stream = np.random.RandomState([_checked_seed(seed), _CLASS_ORDER_STREAM])
    return stream.permutation(num_classes).astype(np.int64)


def draw(labels: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int64]:
    """Indices of sizes[c] images of each class c, class after class, int64.

    The field's draw, bit for bit: NumPy's legacy generator, classes ascending, each class's indices shuffled and the
    first sizes[c] kept.

    Raises:
        OptionError: a seed outside 0 .. 2^32 - 1.
    """
    stream = np.random.RandomState(_checked_seed(seed))
    kept = []
    for label, size in enumerate(sizes):
        index = np.flatnonzero(labels == label).astype(np.int64)
        assert len(index) >= size, f"class {label} has {len(index)} images, {size} were asked for"
        stream.shuffle(index)
        kept.append(index[:size])
    return np.concatenate(kept)


def resample(images: ImageSet, counts: Sequence[int] | Labels, *, seed: int) -> ImageSet:
    """counts[c] images of each class c, drawn again from `images`, class after class: a synthesis that makes nothing new.

    Of n images of a class each is taken floor(counts[c] / n) times, or once more; a permutation drawn by the seed decides
    which ones. A class without images gives none.
    """
    index = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(images.labels == label).astype(np.int64)
        order = np.random.Generator(np.random.PCG64([seed, label])).permutation(members)
        index.append(np.resize(order, count if len(members) else 0))  # np.resize repeats the permutation
    return images.take(np.concatenate(index))


def hold_out(
    labels: npt.NDArray[np.int64], class_names: tuple[str, ...], *, per_class: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], tuple[str, ...]]:
    """A fixed stratified split, the same for every seed: (training indices, test indices, notes), each ascending.

    Args:
        per_class: test images a class; None holds out 20 % of each class, leaving at least one for training.

    Raises:
        OptionError: a class has no more than `per_class` images.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    smallest = int(counts.argmin())
    if per_class is not None and counts[smallest] <= per_class:
        limit = int(counts[smallest]) - 1
        remedy = f"use at most {limit}, or leave it out" if limit else "leave it out"
        raise OptionError(
            f"--test-per-class {per_class} leaves class {class_names[smallest]!r} no training image, it has {counts[smallest]}; "
            f"{remedy}"
        )
    stream = np.random.RandomState(0)
    test = []
    for label, count in enumerate(counts):
        size = per_class if per_class is not None else min(max(1, round(0.2 * int(count))), max(int(count) - 1, 0))
        test.append(np.sort(stream.permutation(np.flatnonzero(labels == label))[:size]))
    held_out = np.sort(np.concatenate(test)).astype(np.int64)
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), held_out)
    tiny = [name for name, index in zip(class_names, test, strict=True) if len(index) == 0]
    how = f"{per_class} images of each class" if per_class is not None else "20 % of each class"
    notes = [f"no test split: {how} held out for testing ({len(held_out)} images), the same for every seed"]
    if tiny:
        notes.append(f"too few images to hold one out for testing: {listed(tiny)}")
    return train, held_out, tuple(notes)


def listed(names: list[str], limit: int = 10) -> str:
    """'a, b, c and 7 more'."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _checked_seed(seed: int) -> int:
    if not 0 <= seed <= _MAX_SEED:
        raise OptionError(f"--seed {seed} must be between 0 and {_MAX_SEED}")
    return seed
