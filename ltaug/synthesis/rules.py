"""The selection rules: what each rejects, fitted on the real training images alone; methods.RULES names them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltaug.synthesis.select import Real, Rule


def agreement(real: Real) -> Rule:
    """Rejects an image unless every judge reads the class that it was generated as."""
    return Rule("disagree", lambda seen: np.any(seen.probabilities.argmax(2) != seen.labels, axis=0))


def distance(real: Real, *, band: Sequence[float]) -> Rule:
    """Rejects an image outside its class's band of distances to the class's centroid.

    Args:
        band: the quantiles of the real images' distances that bound it, see `Centroids.band`.
    """
    low, high = real.centroids.band(band)
    return Rule("far", lambda seen: (seen.feature_distance < low[seen.labels]) | (seen.feature_distance > high[seen.labels]))


def copies(real: Real) -> Rule:
    """Rejects an image that is nearer to a real one than 1 % of real images are to each other."""
    threshold = real.neighbours.copy_threshold
    return Rule("copy", lambda seen: seen.nearest[1] < threshold)
