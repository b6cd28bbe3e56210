"""What measures are taken of: generated and real images, as they are and as an extractor sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import Images, ImageSet
from ltaug.metrics.measured import Features
from ltaug.metrics.neighbours import fit_neighbours

Floats = npt.NDArray[np.float32]
FEW_IMAGES = 10_000
UNBALANCED = 2.0
LARGEST = 1e15  # squares fit into float32, and squares of KID's cubes of squares into float64


@dataclass(frozen=True)
class Looked:
    """Images as an extractor sees them."""

    features: Floats  # (N, D)
    labels: npt.NDArray[np.int64]  # (N,), the class each image is of, or was generated as
    probabilities: Floats | None = None  # (N, K), if the extractor is a classifier of these classes
    scores: Floats | None = None  # (N, M), class probabilities for the inception score, if the extractor gives any

    def __post_init__(self) -> None:
        assert self.features.ndim == 2, "features are (N, D)"
        for given in (self.labels, self.probabilities, self.scores):
            assert given is None or len(given) == len(self.features), "one of each an image"

    def of(self, classes: Sequence[int]) -> Looked:
        """The images of these classes; features and labels only."""
        mask = np.isin(self.labels, np.asarray(classes))
        return Looked(self.features[mask], self.labels[mask])


class Nearest(NamedTuple):
    """The training images nearest to the generated ones."""

    train: npt.NDArray[np.int64]  # (N,), their indices
    distance: Floats  # (N,), in grey levels
    between_real: Floats  # of each training image to its nearest other one; empty where there is no other


@dataclass(frozen=True)
class Evaluated:
    """A generator's images, what they are compared with, and the settings of the measures."""

    generated: Looked
    reference: Looked
    images: Images  # the generated ones, uint8 (N, C, H, W)
    train: ImageSet  # what the generator was fitted to; memorisation is measured against it, whatever the reference
    mirrored: bool  # the generator saw mirrored training images, so that a mirrored copy is a copy
    groups: Mapping[str, Sequence[int]]  # classes by size of their training set, such as {"many": [0, 1], "few": [2]}
    neighbours: int = 5  # k of precision, recall, density and coverage
    clusters: int = 20  # of F8 and F1/8, times the number of classes
    seed: int = 0  # of KID's subsets, the inception score's parts and the clusterings

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.generated.labels), "the images that were looked at"

    def parts(self) -> Iterator[tuple[str, Looked, Looked]]:
        """Generated and reference images of all classes and of each group's, with what a key ends in: "", "/many"."""
        yield "", self.generated, self.reference
        for group, classes in self.groups.items():
            yield f"/{group}", self.generated.of(classes), self.reference.of(classes)

    @cached_property
    def uninformative(self) -> str | None:
        """Why nothing can be read from these features, if so; of the whole samples, not of groups or classes.

        A class of equal images has a Frechet distance, and should: it is what a collapsed generator makes.
        """
        generated, reference = self.generated.features, self.reference.features
        return _uninformative(generated, what="generated images") or _uninformative(reference, what="reference images")

    @cached_property
    def nearest(self) -> Nearest:
        """The training images nearest to the generated ones; all empty where there is no training image."""
        if not len(self.train):
            return Nearest(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
        neighbours = fit_neighbours(self.train, mirrored=self.mirrored)
        return Nearest(*neighbours.nearest(self.images), neighbours.between_real)

    @property
    def caveats(self) -> list[str]:
        """What to bear in mind: small samples, a reference that is not balanced, the same images on both sides."""
        found = []
        width = self.generated.features.shape[1]
        for what, looked in (("generated", self.generated), ("reference", self.reference)):
            count = len(looked.labels)
            if count < FEW_IMAGES:
                found.append(
                    f"{count} {what} images, fewer than {FEW_IMAGES}: fid is biased high, recall and coverage depend on the "
                    "count; compare only figures of equal counts"
                )
            if count <= width:
                found.append(f"{count} {what} images in {width} dimensions: their covariance is singular and fid says little")
        counts = np.bincount(self.reference.labels, minlength=self.train.num_classes)
        if counts.max() > UNBALANCED * counts.min():
            favours = "its figures favour what it has most of"
            found.append(f"the reference has {counts.min()} to {counts.max()} images a class: {favours}")
        if np.array_equal(self.generated.features, self.reference.features):
            found.append("generated and reference images have the very same features; are they the same images?")
        return found


def _uninformative(features: Features, *, what: str) -> str | None:
    """Why features (N, D) say nothing: they hold NaN or numbers beyond 1e15, or are the same for all of several images."""
    bad = len(features) - int(((features >= -LARGEST) & (features <= LARGEST)).all(axis=1).sum())
    if bad:
        return f"the features of {bad} of {len(features)} {what} are not numbers up to {LARGEST:.0e}"
    if len(features) > 1 and (features == features[0]).all():
        return f"all {len(features)} {what} have the same features"
    return None
