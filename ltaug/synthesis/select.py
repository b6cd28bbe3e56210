"""Selection: which generated images are kept. Rules are fitted on the real training set and judge each image alone.

Because a verdict never depends on the other candidates, the first 300 kept images are the same whether 300 or 500 are
wanted, and whatever the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ltaug.data.imageset import AnyImages, Images, ImageSet, Labels
from ltaug.errors import OptionError
from ltaug.methods import RULES
from ltaug.metrics.neighbours import Neighbours, fit_neighbours
from ltaug.synthesis.manifest import KEPT

Floats = npt.NDArray[np.float32]
OWN_BAND_IMAGES = 10
LOOK = 256  # generated images that a judge looks at together, neither more nor fewer


class Judge(Protocol):
    """A classifier trained on the real set (classifier.judge.Judge is one)."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def features(self, images: AnyImages) -> Floats:
        """(N, D)."""
        ...

    def probabilities(self, images: AnyImages) -> Floats:
        """(N, K)."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """(B, K) of images (B, C, H, W) in -1..1, differentiable."""
        ...


@dataclass(frozen=True)
class Centroids:
    """Where each class's real images lie in feature space."""

    places: Floats  # (K, D), the mean of each class's features
    own: Mapping[int, Floats]  # for each class of two images or more, each image's distance to the mean of the others

    def distances(self, features: Floats, labels: Labels) -> Floats:
        """(N,) Euclidean distance of each image to its class's centroid."""
        return np.asarray(np.linalg.norm(features - self.places[labels], axis=1), np.float32)

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


def fit_centroids(features: Floats, labels: Labels, *, num_classes: int) -> Centroids:
    """The centroid of every class from the real training images' features (N, D); a class without images is at 0."""
    places = np.zeros((num_classes, features.shape[1]), np.float32)
    own: dict[int, Floats] = {}
    for c in range(num_classes):
        members = features[labels == c]
        if len(members):
            places[c] = members.mean(0)
        if len(members) > 1:
            # Distance to the mean of the others is n/(n-1) times the distance to the mean of all.
            own[c] = np.linalg.norm(members - places[c], axis=1) * len(members) / (len(members) - 1)
    return Centroids(places, own)


@dataclass(frozen=True)
class Real:
    """What rules are fitted on: the real training images and the classifiers that judge by them."""

    images: ImageSet
    judges: Sequence[Judge]

    @cached_property
    def neighbours(self) -> Neighbours:
        return fit_neighbours(self.images)

    @cached_property
    def features(self) -> Floats:
        """All judges' features side by side, (N, sum of D)."""
        return np.concatenate([judge.features(self.images.images) for judge in self.judges], axis=1)

    @cached_property
    def centroids(self) -> Centroids:
        return fit_centroids(self.features, self.images.labels, num_classes=self.images.num_classes)


@dataclass(frozen=True)
class Candidates:
    """Generated images with what is seen of them. Each thing is looked at once, when a rule or the manifest first asks."""

    images: Images  # (N, C, H, W)
    labels: Labels  # (N,), the classes that they were generated as
    real: Real

    @cached_property
    def nearest(self) -> tuple[Labels, Floats]:
        """Index of the nearest real image (N,) and its distance (N,)."""
        return self.real.neighbours.nearest(self.images)

    @cached_property
    def features(self) -> Floats:
        """All judges' features side by side, (N, sum of D)."""
        return np.concatenate([_looked(judge.features, self.images) for judge in self.real.judges], axis=1)

    @cached_property
    def feature_distance(self) -> Floats:
        """(N,) distance to the class's centroid in the judges' features."""
        return self.real.centroids.distances(self.features, self.labels)

    @cached_property
    def probabilities(self) -> Floats:
        """Class probabilities according to each judge, (judges, N, K)."""
        return np.stack([_looked(judge.probabilities, self.images) for judge in self.real.judges])


def _looked(look: Callable[[Images], Floats], images: Images) -> Floats:
    """`look` at all images, (N, ...), LOOK at a time; the last block is filled up with copies of its last image.

    A network's kernels depend on how many images it is given. With blocks of one size every image goes through the same
    kernels, so what is said of it does not depend on how many others its process has made.
    """
    found = []
    for start in range(0, len(images), LOOK):
        block = images[start : start + LOOK]
        filled = np.concatenate([block, np.repeat(block[-1:], LOOK - len(block), axis=0)])
        found.append(look(filled)[: len(block)])
    return np.concatenate(found)


@dataclass(frozen=True)
class Rule:
    """A fitted rule."""

    verdict: str  # the word in the manifest for what it rejects
    rejects: Callable[[Candidates], npt.NDArray[np.bool_]]  # for each candidate whether it does, (N,)


@dataclass(frozen=True)
class Selection:
    """The rules in force by their names in methods.RULES; an image's verdict is that of the first rule that rejects it."""

    real: Real
    rules: dict[str, Rule]

    def __call__(self, candidates: Candidates) -> list[str]:
        """The verdict on each candidate."""
        verdicts = np.full(len(candidates.labels), KEPT, dtype=object)
        for rule in reversed(list(self.rules.values())):
            verdicts[rule.rejects(candidates)] = rule.verdict
        return [str(verdict) for verdict in verdicts]


def fit_selection(images: ImageSet, judges: Sequence[Judge], settings: Mapping[str, Mapping[str, Any]]) -> Selection:
    """Fit rules on the real training images.

    Args:
        settings: of each rule that is switched on, by its name in methods.RULES.

    Raises:
        OptionError: a rule needs judges and there are none.
    """
    real = Real(images, judges)
    for name in settings:
        if RULES.about(name).needs_judges and not judges:
            raise OptionError(f"--{name.replace('_', '-')} needs judges; give at least one classifier run of the real set")
    return Selection(real, {name: RULES[name](real, **settings[name]) for name in RULES if name in settings})
