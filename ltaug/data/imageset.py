"""ImageSet: labelled uint8 images in memory or memory-mapped, the one form in which images travel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ltaug.errors import MismatchError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
BLOCK = 4096  # images at a time, where a set may be larger than memory


@dataclass(frozen=True)
class MappedRows:
    """Rows of a memory map in any order: `array[index]` without the copy. Images are read when they are asked for.

    Indexing works as on an array's first axis: a number gives an image, a slice or an array of numbers a copy of those images.
    """

    array: Images  # (M, C, H, W)
    index: Labels  # (N,), places in `array`

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: int | slice | Labels) -> Images:
        return self.array[self.index[rows]]

    def __iter__(self) -> Iterator[Images]:
        return (self.array[i] for i in self.index)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:
        if copy is False:
            raise ValueError("these images are not an array, and making one takes a copy")
        return np.asarray(self.array[self.index], dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the images would take in memory."""
        return int(np.prod(self.shape))


AnyImages = Images | MappedRows


def pixel_digest(image: Images) -> str:
    """SHA-256 of an image's pixels (C, H, W), hexadecimal; independent of how a file compresses them."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def hash_images(images: AnyImages) -> Images:
    """SHA-256 of each image's pixels (C, H, W), uint8 (N, 32)."""
    hashes = np.empty((len(images), 32), np.uint8)
    for start in range(0, len(images), BLOCK):
        for row, image in enumerate(np.ascontiguousarray(images[start : start + BLOCK]), start):
            hashes[row] = np.frombuffer(hashlib.sha256(image).digest(), np.uint8)
    return hashes


def set_digest(shape: tuple[int, ...], class_names: tuple[str, ...], labels: Labels, hashes: Images) -> str:
    """`ImageSet.digest`, given the shape (N, C, H, W) and `hash_images` of the images."""
    h = hashlib.sha256(repr((shape, class_names)).encode())
    h.update(labels.astype("<i8").tobytes())
    h.update(hashes.tobytes())
    return h.hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size."""

    images: AnyImages  # uint8 (N, C, H, W); may be a memory map, or rows of one, and is never written to
    labels: Labels  # int64 (N,), indices into `class_names`
    class_names: tuple[str, ...]  # one name per class; a class may have no image
    source: str  # where the images come from, for people ("digits", "folder:/data/birds")
    known_hashes: Images | None = None  # `hash_images` of them, if an earlier run kept it

    def __post_init__(self) -> None:
        assert self.images.dtype == np.uint8, "images are uint8"
        assert self.images.ndim == 4, "images are NCHW"
        assert self.labels.dtype == np.int64, "labels are int64"
        assert self.labels.shape == self.images.shape[:1], "one label an image"
        assert self.known_hashes is None or self.known_hashes.shape == (len(self.labels), 32), "one hash an image"
        assert len(self.labels) == 0 or (self.labels.min() >= 0 and self.labels.max() < len(self.class_names))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        c, h, w = self.images.shape[1:]
        return int(c), int(h), int(w)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def class_counts(self) -> Labels:
        """Images per class, int64 (K,)."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    @cached_property
    def hashes(self) -> Images:
        """`hash_images` of the images, (N, 32)."""
        return hash_images(self.images) if self.known_hashes is None else self.known_hashes

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shape, class names, labels and each image's own; equal exactly for equal content in equal order."""
        return set_digest(self.images.shape, self.class_names, self.labels, self.hashes)

    def take(self, index: npt.NDArray[np.int64]) -> ImageSet:
        """The images at `index`, in that order: rows of a memory map stay there, others are copied."""
        images: AnyImages
        if isinstance(self.images, MappedRows):
            images = MappedRows(self.images.array, self.images.index[index])
        elif isinstance(self.images, np.memmap):
            images = MappedRows(self.images, index)
        else:
            images = np.ascontiguousarray(self.images[index])
        hashes = None if self.known_hashes is None else self.known_hashes[index]
        return ImageSet(images, self.labels[index], self.class_names, self.source, hashes)

    def require_same_classes(self, class_names: tuple[str, ...], *, what: str) -> None:
        """Raise MismatchError unless `what` has exactly these classes in this order."""
        if class_names == self.class_names:
            return
        missing = sorted(set(self.class_names) - set(class_names))
        extra = sorted(set(class_names) - set(self.class_names))
        difference = f"missing {missing[:3]}, unknown {extra[:3]}" if missing or extra else "the same names in another order"
        raise MismatchError(f"{what} has other classes than {self.source} ({difference}); use runs of the same dataset")
