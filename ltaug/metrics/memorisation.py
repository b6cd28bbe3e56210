"""Memorisation: generated images nearer to a training image than training images are to each other.

A generated image counts as memorised at 1 % (5 %) if its root-mean-square distance in grey levels to the nearest training
image of any class is below the 1 % (5 %) quantile of the leave-one-out nearest distances of the training images of the
class it was generated as, or is 0. So about 1 % (5 %) of images as new as the training images are to each other count:
what is above is the generator's memory. (A test of data-copying by nearest-neighbour distances, as that of Meehan, Chaudhuri and
Dasgupta, AISTATS 2020, with quantiles in place of their rank statistic.)

A quantile needs images: a class of fewer than 100 (for 5 %: 20) training images, of which it could tell only the minimum,
takes the quantile of all classes' images pooled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import ImageSet, Labels
from ltaug.metrics.classes import note_shares
from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.measured import Notebook

Floats = npt.NDArray[np.float32]
QUANTILES = {"memorised_1": 0.01, "memorised_5": 0.05}


@dataclass(frozen=True)
class Pair:
    """A generated image and its nearest training image."""

    generated: int  # its index
    train: int  # its index
    distance: float  # between them, in grey levels (root mean square)
    threshold: float | None  # the 1 % quantile of the class it was generated as; None where there is nothing to take it of


def memorised(given: Evaluated, notes: Notebook) -> None:
    """Enter memorised_1 and memorised_5, of all images and of each class's; memorised_1 of each group's too."""
    near, train, labels = given.nearest, given.train, given.generated.labels
    for name, quantile in QUANTILES.items():
        limit = thresholds(near.between_real, train.labels, quantile, num_classes=train.num_classes)
        remembered = (near.distance == 0) | (near.distance < limit[labels]) if len(near.between_real) else None
        groups = given.groups if name == "memorised_1" else {}
        otherwise = f"too few training images: {len(train)}, where distances between them take at least 2"
        note_shares(notes, name, remembered, given, groups=groups, otherwise=otherwise)
    notes.warnings += _warnings(train)


def closest_pairs(given: Evaluated, count: int) -> list[Pair]:
    """The `count` generated images nearest to a training image, nearest first; none where there is no training image."""
    near, train, labels = given.nearest, given.train, given.generated.labels
    limit = thresholds(near.between_real, train.labels, QUANTILES["memorised_1"], num_classes=train.num_classes)
    return [
        Pair(int(i), int(near.train[i]), float(near.distance[i]), float(limit[labels[i]]) if len(near.between_real) else None)
        for i in np.argsort(near.distance, kind="stable")[:count]
    ]


def _warnings(train: ImageSet) -> list[str]:
    """Which classes' thresholds are not their own, and where even the pooled one says little."""
    least = round(1 / QUANTILES["memorised_1"])
    if len(train) < least:
        return [f"memorised_1: the 1 % quantile of {len(train)} training images' distances is little more than the smallest"]
    small = int((train.class_counts < least).sum())
    if small:
        what = f"{small} of {train.num_classes} classes have fewer than {least} training images"
        return [f"memorised_1: {what} and take the threshold of all classes"]
    return []


def thresholds(between: Floats, labels: Labels, quantile: float, *, num_classes: int) -> npt.NDArray[np.float64]:
    """(K,) the quantile of each class's leave-one-out nearest distances, or of all where the class has fewer than 1/quantile.

    Args:
        between: (N,) of the training images, N = 0 where there are fewer than 2: then all thresholds are 0.
        labels: (N,) their classes.
    """
    if not len(between):
        return np.zeros(num_classes)
    found = np.full(num_classes, np.quantile(between, quantile), np.float64)
    for c in range(num_classes):
        own = between[labels == c]
        if len(own) >= round(1 / quantile):
            found[c] = np.quantile(own, quantile)
    return found
