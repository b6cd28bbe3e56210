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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import Images, ImageSet, Labels
from ltaug.metrics.classes import note_shares
from ltaug.metrics.measures import Measures, Notebook
from ltaug.metrics.neighbours import fit_neighbours

Floats = npt.NDArray[np.float32]
QUANTILES = {"memorised_1": 0.01, "memorised_5": 0.05}


@dataclass(frozen=True)
class Pair:
    """A generated image and its nearest training image.

    Attributes:
        generated, train: their indices.
        distance: between them, in grey levels (root mean square).
        threshold: the 1 % quantile of the class it was generated as; None where there is nothing to take it of.
    """

    generated: int
    train: int
    distance: float
    threshold: float | None


def memorisation(
    generated: Images,
    labels: Labels,
    train: ImageSet,
    *,
    num_classes: int,
    groups: Mapping[str, Sequence[int]],
    mirrored: bool,
    pairs: int,
) -> tuple[Measures, list[Pair]]:
    """How much of what was generated is remembered, and the closest pairs.

    Args:
        generated: uint8 (N, C, H, W), of the training images' shape.
        labels: (N,), the classes they were generated as.
        mirrored: a mirror image of a training image is a copy too; for generators trained with flips.
        pairs: how many of the closest pairs to return.

    Returns:
        memorised_1 and memorised_5 overall and per class, memorised_1/G for every group G; and the closest pairs,
        closest first. With no generated or no training image there are no pairs.
    """
    assert train.num_classes == num_classes, "the generator's classes are the training images'"
    neighbours = fit_neighbours(train, mirrored=mirrored) if len(train) else None
    between = neighbours.between_real if neighbours else np.zeros(0, np.float32)
    nearest, distance = neighbours.nearest(generated) if neighbours else (np.zeros(0, np.int64), np.zeros(0, np.float32))
    notes = Notebook()
    limits = {name: thresholds(between, train.labels, q, num_classes=num_classes) for name, q in QUANTILES.items()}
    for name, limit in limits.items():
        remembered = (distance == 0) | (distance < limit[labels]) if len(between) else None
        note_shares(
            notes,
            name,
            remembered,
            labels,
            groups=groups if name == "memorised_1" else {},
            num_classes=num_classes,
            otherwise=f"too few training images: {len(train)}, where distances between them take at least 2",
        )
    notes.warnings += _warnings(train)
    shown = limits["memorised_1"][labels]
    return notes.measures(), [
        Pair(int(i), int(nearest[i]), float(distance[i]), float(shown[i]) if len(between) else None)
        for i in np.argsort(distance, kind="stable")[:pairs]
    ]


def _warnings(train: ImageSet) -> list[str]:
    """Which classes' thresholds are not their own, and where even the pooled one says little."""
    quantile = QUANTILES["memorised_1"]
    least = round(1 / quantile)
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
