"""What measures are taken of: generated and real images, as they are and as an extractor sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import Images, ImageSet
from ltaug.metrics.neighbours import fit_neighbours
from ltaug.metrics.unmeasurable import Unmeasurable, require_informative

Floats = npt.NDArray[np.float32]
FEW_IMAGES = 10_000
UNBALANCED = 2.0


@dataclass(frozen=True)
class Looked:
    """Images as an extractor sees them.

    Attributes:
        features: float32, (N, D).
        labels: int64, (N,), the class each image is of, or was generated as.
        probabilities: float32, (N, K), the extractor's reading of the classes, if it is a classifier of these classes.
        scores: float32, (N, M), class probabilities for the inception score (of Inception's 1008 classes, or the
            classifier's), if the extractor has any.
    """

    features: Floats
    labels: npt.NDArray[np.int64]
    probabilities: Floats | None = None
    scores: Floats | None = None

    def __post_init__(self) -> None:
        assert self.features.ndim == 2, "features are (N, D)"
        for given in (self.labels, self.probabilities, self.scores):
            assert given is None or len(given) == len(self.features), "one of each an image"

    def of(self, classes: Sequence[int]) -> Looked:
        """The images of these classes; features and labels only."""
        mask = np.isin(self.labels, np.asarray(classes))
        return Looked(self.features[mask], self.labels[mask])


class Nearest(NamedTuple):
    """Number of the training image nearest to each generated one (N,), its distance (N,) in grey levels, and the distance
    of each training image to its nearest other one (empty where there is no other)."""

    train: npt.NDArray[np.int64]
    distance: Floats
    between_real: Floats


@dataclass(frozen=True)
class Evaluated:
    """A generator's images, what they are compared with, and the settings of the measures.

    Attributes:
        generated, reference: as the extractor sees them.
        images: the generated ones, uint8 (N, C, H, W).
        train: what the generator was fitted to; memorisation is measured against it, whatever the reference.
        mirrored: the generator saw mirrored training images, so that a mirrored copy is a copy.
        groups: classes by size of their training set, such as {"many": [0, 1], "few": [2]}.
        neighbours: k of precision, recall, density and coverage.
        clusters: of F8 and F1/8, times the number of classes.
        seed: of KID's subsets, the inception score's parts and the clusterings.
    """

    generated: Looked
    reference: Looked
    images: Images
    train: ImageSet
    mirrored: bool
    groups: Mapping[str, Sequence[int]]
    neighbours: int = 5
    clusters: int = 20
    seed: int = 0

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
        try:
            require_informative(self.generated.features, what="generated images")
            require_informative(self.reference.features, what="reference images")
        except Unmeasurable as why:
            return why.reason
        return None

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
