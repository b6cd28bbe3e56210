"""Which real image each candidate starts from: a function of (seed, class, index) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltaug.data.imageset import Images, ImageSet, Labels
from ltaug.errors import OptionError
from ltaug.methods import STARTS
from ltaug.runtime import derive_seed
from ltaug.synthesis.places import Floats
from ltaug.synthesis.select import Real


@dataclass(frozen=True)
class Starts:
    """The real images that candidates start from, each as often as the others of its pool, in orders that the seed draws."""

    real: ImageSet
    pools: Sequence[Labels]  # for each class the indices of the images that its candidates may start from
    seed: int

    def of(self, c: int, index: int) -> int:
        """The index of the real image that candidate `index` of class c starts from."""
        turn, place = divmod(index, len(self.pools[c]))
        order = np.random.default_rng(derive_seed(self.seed, "start", c, turn))
        return int(order.permutation(self.pools[c])[place])

    def __call__(self, keys: Sequence[tuple[int, int]]) -> Images:
        """Those of keys (class, index), uint8 (N, C, H, W)."""
        return np.asarray(self.real.images[np.array([self.of(c, index) for c, index in keys], np.int64)])


def starts_for(name: str, real: Real, wanted: Sequence[int], *, seed: int) -> Starts:
    """The starts of this name in methods.STARTS.

    Args:
        wanted: images to make of each class.

    Raises:
        OptionError: a class has no real image to start from, or judges are asked and there are none.
    """
    pools: list[Labels] = STARTS[name](real)
    if empty := [real.images.class_names[c] for c, images in enumerate(wanted) if images and not len(pools[c])]:
        raise OptionError(f"--start {name}: class {empty[0]!r} has no real image; leave it out or use --start noise")
    return Starts(real.images, pools, seed)


def own(real: Real) -> list[Labels]:
    """Each class from its own images."""
    return [np.flatnonzero(real.images.labels == c) for c in range(real.images.num_classes)]


def confusable(real: Real) -> list[Labels]:
    """Each class from the images of the larger class that judges most confuse with it."""
    if not real.judges:
        raise OptionError("--start confusable needs judges; give at least one classifier run of the real set")
    mean = np.mean([judge.probabilities(real.images.images) for judge in real.judges], axis=0)
    mine = own(real)
    return [mine[k] for k in most_confused(mean, real.images.labels)]


def most_confused(probabilities: Floats, labels: Labels) -> list[int]:
    """For each class the one of more images that is most confused with it; where none has more, itself.

    How much two classes are confused is the mean probability of the one for images of the other, plus the same the other way.

    Args:
        probabilities: (N, K) of the real training images.
        labels: (N,) their classes.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    read = np.zeros((classes, classes))
    np.add.at(read, labels, probabilities)
    read /= np.maximum(counts, 1)[:, None]
    larger = counts[None] > counts[:, None]
    best = np.where(larger, read + read.T, -1.0).argmax(1)
    return [int(best[c]) if larger[c].any() else c for c in range(classes)]
