"""The images that a classifier of a synthesis would see, real and kept, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import Images, ImageSet, Labels
from ltaug.manifest import COLUMNS as MANIFEST_COLUMNS
from ltaug.manifest import Row

REAL, SYNTHETIC = "real", "synthetic"
_TYPES = {"str": "string", "int": "int64", "float": "float64", "Digits": "float64"}  # by a field's annotation
# What `about` says, and the type of each as Arrow and `datasets` call it. A real image has no more than its first five.
COLUMNS = {"source": "string", "class": "string", "index": "int64", "sha256": "string"}
COLUMNS |= {"weight": "float64", "generator": "string"}
COLUMNS |= {name: _TYPES[str(f.type)] for name, f in MANIFEST_COLUMNS.items() if name not in ("file", *COLUMNS)}


@dataclass(frozen=True)
class Merged:
    """Real images first, then synthetic ones in manifest order; images are numbered across both."""

    real: ImageSet  # without images where only the synthetic ones are wanted
    synthetic: ImageSet
    rows: tuple[Row, ...]  # of the synthetic images
    generator: str  # its digest

    def __len__(self) -> int:
        return len(self.real) + len(self.synthetic)

    def __getitem__(self, i: int) -> Images:
        """Image i, uint8 (C, H, W)."""
        own = i - len(self.real)
        return self.real.images[i] if own < 0 else self.synthetic.images[own]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.real.class_names

    @cached_property
    def labels(self) -> Labels:
        """Places in `class_names`, int64 (N,)."""
        return np.concatenate([self.real.labels, self.synthetic.labels])

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """One over the images of its class, of each image, (N,): drawn with these weights, all classes come equally often."""
        return 1 / np.bincount(self.labels)[self.labels]

    def source(self, i: int) -> str:
        return REAL if i < len(self.real) else SYNTHETIC

    def name(self, i: int) -> str:
        """Image i's name, which no other of its class has."""
        own = i - len(self.real)
        return f"{self.source(i)}-{i if own < 0 else self.rows[own].index:06d}"

    def about(self, i: int) -> dict[str, Any]:
        """COLUMNS of image i, None where there is nothing to say.

        The index of a real image is its place among the training images, as in `nearest_real` and `start`.
        """
        known = {"source": self.source(i), "class": self.class_names[self.labels[i]], "weight": float(self.weights[i])}
        if i < len(self.real):
            return dict.fromkeys(COLUMNS) | known | {"index": i, "sha256": self.real.hashes[i].tobytes().hex()}
        row = self.rows[i - len(self.real)]
        found = {name: getattr(row, f.name) for name, f in MANIFEST_COLUMNS.items() if name != "file"}
        read = {name: float(value) if value and COLUMNS[name] == "float64" else value for name, value in found.items()}
        said = {name: None if value == "" else value for name, value in read.items()}
        return dict.fromkeys(COLUMNS) | said | known | {"generator": self.generator}
