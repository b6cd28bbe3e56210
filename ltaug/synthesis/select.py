"""Selection: which generated images are kept. Rules are fitted on the real training set and judge each image alone.

Because a verdict never depends on the other candidates, the first 300 kept images are the same whether 300 or 500 are
wanted, and whatever the batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ltaug.data.imageset import AnyImages, Images, ImageSet, Labels
from ltaug.errors import OptionError
from ltaug.manifest import KEPT
from ltaug.methods import RULES
from ltaug.metrics.copies import SEARCHED_ABOVE, FeatureSearch, fit_search
from ltaug.metrics.neighbours import Neighbours, fit_neighbours
from ltaug.synthesis.places import Centroids, Floats, cosine, fit_centroids, widths_of

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
class Real:
    """What rules are fitted on: the real training images and the classifiers that judge by them."""

    images: ImageSet
    judges: Sequence[Judge]

    @cached_property
    def neighbours(self) -> Neighbours:
        return fit_neighbours(self.images)

    def look(self, images: AnyImages) -> Floats:
        """All judges' features side by side, (N, sum of D)."""
        return np.concatenate([judge.features(images) for judge in self.judges], axis=1)

    @cached_property
    def features(self) -> Floats:
        return self.look(self.images.images)

    @cached_property
    def search(self) -> FeatureSearch | None:
        """For copies in the judges' features; None without judges, or where images are too small for it to tell."""
        if not self.judges or max(self.images.image_shape[1:]) <= SEARCHED_ABOVE or len(self.images) < 3:
            return None
        return fit_search(self.images.images, lambda images: _looked(self.look, images))

    @cached_property
    def centroids(self) -> Centroids:
        return fit_centroids(self.features, self.images.labels, num_classes=self.images.num_classes)

    @cached_property
    def prototypes(self) -> Centroids:
        """The centroids, with distances by the angle."""
        return fit_centroids(self.features, self.images.labels, num_classes=self.images.num_classes, measure=cosine)

    @cached_property
    def widths(self) -> Floats:
        """(K,) the largest distance between two images of a class."""
        return widths_of(self.features, self.images.labels, num_classes=self.images.num_classes)


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
        return _looked(self.real.look, self.images)

    @cached_property
    def feature_distance(self) -> Floats:
        """(N,) distance to the class's centroid in the judges' features."""
        return self.real.centroids.distances(self.features, self.labels)

    @cached_property
    def prototype_distance(self) -> Floats:
        """(N,) cosine distance to the class's centroid in the judges' features."""
        return self.real.prototypes.distances(self.features, self.labels)

    @cached_property
    def probabilities(self) -> Floats:
        """Class probabilities according to each judge, (judges, N, K)."""
        return np.stack([_looked(judge.probabilities, self.images) for judge in self.real.judges])

    @cached_property
    def mean_probabilities(self) -> Floats:
        """Class probabilities, the mean over the judges, (N, K)."""
        return np.asarray(self.probabilities.mean(axis=0), np.float32)

    @cached_property
    def confidence(self) -> Floats:
        """(N,) mean probability of the class that each image was generated as."""
        return self.mean_probabilities[np.arange(len(self.labels)), self.labels]

    @cached_property
    def margin(self) -> Floats:
        """(N,) `confidence` less the largest mean probability of another class."""
        others = self.mean_probabilities.copy()
        others[np.arange(len(self.labels)), self.labels] = -np.inf
        return np.asarray(self.confidence - others.max(axis=1), np.float32)


def _looked(look: Callable[[Images], Floats], images: AnyImages) -> Floats:
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
    """A fitted rule. One that has a word for each of several reasons is a Rule for each."""

    verdict: str  # the word in the manifest for what it rejects
    rejects: Callable[[Candidates], npt.NDArray[np.bool_]]  # for each candidate whether it does, (N,)


@dataclass(frozen=True)
class Selection:
    """The rules in force by their names in methods.RULES; an image's verdict is that of the first rule that rejects it."""

    real: Real
    rules: dict[str, tuple[Rule, ...]]

    def __call__(self, candidates: Candidates) -> list[str]:
        """The verdict on each candidate."""
        verdicts = np.full(len(candidates.labels), KEPT, dtype=object)
        for rule in reversed(list(itertools.chain(*self.rules.values()))):
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
    fitted = {name: RULES[name](real, **settings[name]) for name in RULES if name in settings}
    return Selection(real, {name: (rules,) if isinstance(rules, Rule) else rules for name, rules in fitted.items()})
