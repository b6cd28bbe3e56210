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


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size.

    Attributes:
        images: uint8, (N, C, H, W); may be a memory map and is never written to.
        labels: int64, (N,), indices into `class_names`.
        class_names: one name per class; a class may have no image.
        source: where the images come from, for people ("digits", "folder:/data/birds").
    """

    images: Images
    labels: Labels
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        assert self.images.dtype == np.uint8, "images are uint8"
        assert self.images.ndim == 4, "images are NCHW"
        assert self.labels.dtype == np.int64, "labels are int64"
        assert self.labels.shape == self.images.shape[:1], "one label an image"
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
    def digest(self) -> str:
        """SHA-256 over shape, class names, labels and pixels; equal exactly for equal content in equal order."""
        h = hashlib.sha256()
        h.update(repr((self.images.shape, self.class_names)).encode())
        h.update(self.labels.astype("<i8").tobytes())
        for block in self._blocks():
            h.update(np.ascontiguousarray(block).tobytes())
        return h.hexdigest()

    def _blocks(self, images_per_block: int = 4096) -> Iterator[Images]:
        for start in range(0, len(self), images_per_block):
            yield self.images[start : start + images_per_block]

    def take(self, index: npt.NDArray[np.int64]) -> ImageSet:
        """The images at `index`, in that order (a copy in memory)."""
        return ImageSet(np.ascontiguousarray(self.images[index]), self.labels[index], self.class_names, self.source)

    def require_same_classes(self, class_names: tuple[str, ...], *, what: str) -> None:
        """Raise MismatchError unless `what` has these very classes in this order."""
        if class_names == self.class_names:
            return
        missing = sorted(set(self.class_names) - set(class_names))
        extra = sorted(set(class_names) - set(self.class_names))
        difference = f"missing {missing[:3]}, unknown {extra[:3]}" if missing or extra else "the same names in another order"
        raise MismatchError(
            f"{what} has other classes than {self.source} ({difference}); use runs made from the same dataset and class order"
        )
