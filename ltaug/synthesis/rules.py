"""The selection rules: what each rejects, fitted on the real training images alone; methods.RULES names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ltaug.synthesis.places import Floats
from ltaug.synthesis.select import Candidates, Real, Rule

# The band that DBG keeps: these quantiles of the real images' distances, widened by these factors.
DBG_QUANTILES, DBG_FACTORS = (0.05, 0.95), (0.98, 1.05)


def agreement(real: Real) -> Rule:
    """Rejects an image unless every judge reads the class that it was generated as."""
    return Rule("disagree", lambda seen: np.any(seen.probabilities.argmax(2) != seen.labels, axis=0))


def distance(real: Real, *, band: Sequence[float]) -> tuple[Rule, ...]:
    """Rejects an image outside its class's band of distances to the class's centroid.

    Args:
        band: the quantiles of the real images' distances that bound it, see `Centroids.band`.
    """
    return _outside(*real.centroids.band(band), lambda seen: seen.feature_distance, "near", "far")


def diffult(real: Real, *, select_diffult: str) -> tuple[Rule, ...]:
    """Rejects an image by its distance d to its class's centroid and d_y, see `places.widths_of` (Shao et al., NeurIPS 2024).

    Args:
        select_diffult: what is kept: `id` (in distribution) d <= d_y, `aid` (approximately) d_y < d <= 2 d_y,
            `id+aid` d <= 2 d_y. All is kept where nothing is known of d_y.
    """
    low, high = np.zeros_like(real.widths), real.widths * (1 if select_diffult == "id" else 2)
    if select_diffult == "aid":
        low = np.where(np.isfinite(real.widths), np.nextafter(real.widths, np.float32(np.inf)), low)
    return _outside(low, high, lambda seen: seen.feature_distance, "inside", "outside")


def prototype(real: Real) -> tuple[Rule, ...]:
    """Rejects an image whose cosine distance to its class's mean feature is outside that of real images (DBG).

    The band is [.98 of the 5 % quantile, 1.05 of the 95 % quantile] of the real images' distances to the mean of the others.
    """
    low, high = (
        bound * np.float32(factor) for bound, factor in zip(real.prototypes.band(DBG_QUANTILES), DBG_FACTORS, strict=True)
    )
    return _outside(low, high, lambda seen: seen.prototype_distance, "typical", "atypical")


def confidence(real: Real, *, select_confidence: Sequence[float]) -> tuple[Rule, ...]:
    """Rejects an image whose class has a mean judge probability outside the band.

    Args:
        select_confidence: the lowest and the highest that are kept.
    """
    low, high = (np.full(real.images.num_classes, bound, np.float32) for bound in select_confidence)
    return _outside(low, high, lambda seen: seen.confidence, "unsure", "easy")


def margin(real: Real, *, select_margin: float) -> Rule:
    """Rejects an image whose class does not lead every other by this much in the judges' mean probability."""
    return Rule("ambiguous", lambda seen: seen.margin < select_margin)


def copies(real: Real) -> Rule:
    """Rejects an image that is nearer to a real one than 1 % of real images are to each other, or copies one in features."""
    threshold, search = real.neighbours.copy_threshold, real.search

    def rejects(seen: Candidates) -> npt.NDArray[np.bool_]:
        near = seen.nearest[1] < threshold
        return near if search is None else near | search.copied(seen.images)

    return Rule("copy", rejects)


def _outside(low: Floats, high: Floats, value: Callable[[Candidates], Floats], below: str, above: str) -> tuple[Rule, ...]:
    """Rules for what lies below and above its class's bounds (K,), which are inclusive."""
    return (Rule(below, lambda seen: value(seen) < low[seen.labels]), Rule(above, lambda seen: value(seen) > high[seen.labels]))
