"""Selection: which generated images are kept. Rules fixed on the real training set; each image is judged alone.

Because a verdict never depends on the other candidates, the first 300 kept images are the same whether 300 or 500 are
wanted, and whatever the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import AnyImages, Images, ImageSet
from ltaug.metrics.neighbours import Neighbours, fit_neighbours

Floats = npt.NDArray[np.float32]
KEPT, DISAGREE, FAR, COPY = "kept", "disagree", "far", "copy"
OWN_BAND_IMAGES = 10
LOOK = 256  # generated images that a judge looks at together, neither more nor fewer


class Judge(Protocol):
    """A classifier trained on the real set (classifier.judge.Judge is one)."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def digest(self) -> str: ...

    def features(self, images: AnyImages) -> Floats:
        """(N, D)."""
        ...

    def probabilities(self, images: AnyImages) -> Floats:
        """(N, K)."""
        ...


@dataclass(frozen=True)
class DistanceBand:
    """Where a class's real images lie around their centroid in feature space, as bounds on the distance.

    The bounds are quantiles of real-to-centroid distances, each image against the centroid of the others. A class of
    under 10 images takes the quantiles of all classes pooled; a single image is its own centroid. Where every class
    has a single image there is nothing to measure by, and the bands are open.

    Attributes:
        centroids: (K, D).
        low, high: (K,), the band of each class.
    """

    centroids: Floats
    low: Floats
    high: Floats

    def distances(self, features: Floats, labels: npt.NDArray[np.int64]) -> Floats:
        """(N,) Euclidean distance of each image to its class's centroid."""
        return np.asarray(np.linalg.norm(features - self.centroids[labels], axis=1), np.float32)


def fit_band(features: Floats, labels: npt.NDArray[np.int64], *, num_classes: int, band: Sequence[float]) -> DistanceBand:
    """The band of every class from the real training images' features (N, D)."""
    centroids = np.zeros((num_classes, features.shape[1]), np.float32)
    own: dict[int, Floats] = {}
    for c in range(num_classes):
        members = features[labels == c]
        if len(members):
            centroids[c] = members.mean(0)
        if len(members) > 1:
            # Distance to the mean of the others is n/(n-1) times the distance to the mean of all.
            own[c] = np.linalg.norm(members - centroids[c], axis=1) * len(members) / (len(members) - 1)
    bounds = np.tile(np.array([0.0, np.inf], np.float32), (num_classes, 1))
    pooled = np.concatenate(list(own.values())) if own else np.zeros(0, np.float32)
    for c in range(num_classes if own else 0):
        sample = own[c] if c in own and len(own[c]) >= OWN_BAND_IMAGES else pooled
        bounds[c] = np.quantile(sample, band)
    return DistanceBand(centroids, bounds[:, 0], bounds[:, 1])


@dataclass(frozen=True)
class Verdicts:
    """What selection says of a batch of candidates: one entry per image in each field."""

    verdict: list[str]
    feature_distance: list[float | None]
    nearest_real: npt.NDArray[np.int64]
    nearest_distance: Floats


@dataclass(frozen=True)
class Selection:
    """The rules in force; what is not asked for is measured where it can be, and rejects nothing."""

    judges: Sequence[Judge]
    band: DistanceBand | None
    neighbours: Neighbours
    agreement: bool
    distance: bool
    drop_copies: bool

    def __call__(self, images: Images, labels: npt.NDArray[np.int64]) -> Verdicts:
        """Judge uint8 images (N, C, H, W) generated as `labels` (N,)."""
        nearest, nearest_distance = self.neighbours.nearest(images)
        verdict = np.full(len(images), KEPT, dtype=object)
        far: list[float | None] = [None] * len(images)
        if self.drop_copies:
            verdict[nearest_distance < self.neighbours.copy_threshold] = COPY
        if self.band is not None:
            seen = [_looked(judge.features, images) for judge in self.judges]
            distances = self.band.distances(np.concatenate(seen, axis=1), labels)
            far = [float(d) for d in distances]
            if self.distance:
                verdict[(distances < self.band.low[labels]) | (distances > self.band.high[labels])] = FAR
        if self.agreement:
            for judge in self.judges:
                verdict[_looked(judge.probabilities, images).argmax(1) != labels] = DISAGREE
        return Verdicts(verdict.tolist(), far, nearest, nearest_distance)


def _looked(look: Callable[[Images], Floats], images: Images) -> Floats:
    """`look` at all images, (N, ...), LOOK at a time, the last ones filled up.

    A network's kernels depend on how many images it is given. So each image goes through the same, and what is said of it
    does not depend on how many others its process has made.
    """
    found = []
    for start in range(0, len(images), LOOK):
        block = images[start : start + LOOK]
        filled = np.concatenate([block, np.repeat(block[-1:], LOOK - len(block), axis=0)])
        found.append(look(filled)[: len(block)])
    return np.concatenate(found)


def judge_features(judges: Sequence[Judge], images: AnyImages) -> Floats:
    """All judges' features side by side, (N, sum of D)."""
    return np.concatenate([j.features(images) for j in judges], axis=1)


def fit_selection(
    real: ImageSet, judges: Sequence[Judge], *, agreement: bool, distance: bool, drop_copies: bool, band: Sequence[float]
) -> Selection:
    """The rules from the real training images alone."""
    fitted = None
    if judges:
        fitted = fit_band(judge_features(judges, real.images), real.labels, num_classes=real.num_classes, band=band)
    return Selection(judges, fitted, fit_neighbours(real), agreement, distance, drop_copies)
