"""Where each class's real images lie in the judges' features, and how far apart: what rules measure candidates by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from ltaug.data.imageset import Labels

Floats = npt.NDArray[np.float32]
Measure = Callable[[Floats, Floats], Floats]  # the distances between the rows of (N, D) and (N, D), (N,)
OWN_BAND_IMAGES = 10
ROWS = 512  # images whose distances to all others of their class are taken at once


def euclidean(a: Floats, b: Floats) -> Floats:
    """Distance between rows."""
    return np.asarray(np.linalg.norm(a - b, axis=1), np.float32)


def cosine(a: Floats, b: Floats) -> Floats:
    """1 - cosine of the angle between rows; 1 where a row is 0."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(1 - (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1), np.float32)


@dataclass(frozen=True)
class Centroids:
    """The mean of each class's real images in feature space, and how far they are from it."""

    places: Floats  # (K, D)
    own: Mapping[int, Floats]  # for each class of two images or more, each image's distance to the mean of the others
    measure: Measure

    def distances(self, features: Floats, labels: Labels) -> Floats:
        """(N,) distance of each image to its class's centroid."""
        return self.measure(features, self.places[labels])

    def band(self, quantiles: Sequence[float]) -> tuple[Floats, Floats]:
        """For each class the two quantiles of its real images' distances: (K,) and (K,).

        A class of under 10 images takes the quantiles of all classes pooled. Where every class has a single image there is
        nothing to measure by, and the bands are open.
        """
        bounds = np.tile(np.array([0.0, np.inf], np.float32), (len(self.places), 1))
        pooled = np.concatenate(list(self.own.values())) if self.own else np.zeros(0, np.float32)
        for c in range(len(self.places) if self.own else 0):
            enough = c in self.own and len(self.own[c]) >= OWN_BAND_IMAGES
            bounds[c] = np.quantile(self.own[c] if enough else pooled, quantiles)
        return bounds[:, 0], bounds[:, 1]


def fit_centroids(features: Floats, labels: Labels, *, num_classes: int, measure: Measure = euclidean) -> Centroids:
    """The centroid of every class from the real training images' features (N, D); a class without images is at 0."""
    places = np.zeros((num_classes, features.shape[1]), np.float32)
    own: dict[int, Floats] = {}
    for c in range(num_classes):
        members = features[labels == c]
        if len(members):
            places[c] = members.mean(0)
        if len(members) > 1:
            own[c] = measure(members, (members.sum(0) - members) / (len(members) - 1))
    return Centroids(places, own, measure)


def widths_of(features: Floats, labels: Labels, *, num_classes: int) -> Floats:
    """For each class the largest distance between two of its real images, (K,): d_y of DiffuLT (Shao et al., NeurIPS 2024).

    A class without two different images takes the median of the others; infinite where no class has two.
    """
    widths = np.zeros(num_classes, np.float32)
    for c in range(num_classes):
        members = features[labels == c]
        widths[c] = max((cdist(members[i : i + ROWS], members).max() for i in range(0, len(members), ROWS)), default=0)
    measured = widths[widths > 0]
    return np.where(widths > 0, widths, np.median(measured) if len(measured) else np.inf).astype(np.float32)
