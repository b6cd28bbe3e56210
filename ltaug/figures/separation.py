"""How far classes keep apart in feature space, as numbers: purity of the nearest neighbours, and silhouette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import silhouette_samples

from ltaug.metrics.distances import frame_of, nearest

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
MEASURES = ("purity", "silhouette")


@dataclass(frozen=True)
class Separation:
    """Both measures, each a mean over classes of a class's mean, so that a large class counts no more than a small one.

    Attributes:
        overall: measure -> value over all classes; None where no class can be measured.
        groups: group -> measure -> value over the group's classes.
        classes: measure -> one value per class; None for a class of fewer than two images.
    """

    overall: Mapping[str, float | None]
    groups: Mapping[str, Mapping[str, float | None]]
    classes: Mapping[str, Sequence[float | None]]


def purity(features: Floats, labels: Labels, *, neighbours: int = 10) -> npt.NDArray[np.float64]:
    """Share of an image's own class among its nearest others (leave-one-out, Euclidean), (N,).

    An image of a class of n looks at its min(neighbours, n - 1) nearest others, so that 1 is within reach of every class.
    NaN for an image that is alone in its class. Of others equally near those with the lower index come first.
    """
    counts = np.bincount(labels)
    looked_at = np.minimum(neighbours, counts[labels] - 1)
    if looked_at.max(initial=0) == 0:
        return np.full(len(labels), np.nan)
    cloud = frame_of(features).place(features)
    index, _ = nearest(cloud, cloud, int(looked_at.max()), themselves=True)
    same = np.cumsum(labels[index] == labels[:, None], axis=1)
    shares = same[np.arange(len(labels)), np.maximum(looked_at, 1) - 1] / np.maximum(looked_at, 1)
    return np.asarray(np.where(looked_at > 0, shares, np.nan))


def silhouette(features: Floats, labels: Labels) -> npt.NDArray[np.float64]:
    """(b - a) / max(a, b) of every image (Rousseeuw, 1987), (N,); NaN for an image that is alone in its class, or without
    another class to compare with.
    """
    counts = np.bincount(labels)
    found = np.full(len(labels), np.nan)
    if (counts > 0).sum() < 2 or len(labels) == (counts > 0).sum():
        return found
    company = counts[labels] > 1
    found[company] = silhouette_samples(features.astype(np.float64), labels)[company]
    return found


def separation(
    features: Floats, labels: Labels, *, num_classes: int, groups: Mapping[str, Sequence[int]], neighbours: int = 10
) -> Separation:
    """Both measures overall, by group and by class.

    Args:
        features: (N, D).
        labels: (N,).
        groups: group name -> class indices.
    """
    values = {"purity": purity(features, labels, neighbours=neighbours), "silhouette": silhouette(features, labels)}
    classes = {m: [_mean(v[labels == c]) for c in range(num_classes)] for m, v in values.items()}

    def over(members: Sequence[int]) -> dict[str, float | None]:
        return {m: _mean(np.array([classes[m][c] for c in members], np.float64)) for m in MEASURES}

    return Separation(over(range(num_classes)), {g: over(members) for g, members in groups.items()}, classes)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Of what is not NaN; None of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
