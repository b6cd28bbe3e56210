"""Frechet distance of two samples of features (FID; Heusel et al., NeurIPS 2017, eq. 6).

    FID = |m_a - m_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2

with means m and unbiased covariances A, B: the squared 2-Wasserstein distance of two Gaussians with these moments. The
last trace is the sum of the singular values of F_a^T F_b for any factors A = F_a F_a^T, B = F_b F_b^T. That form takes no
root of a nearly singular product, so it has no complex or negative parts to drop, and it is cheap where a sample has
fewer images than features: its centred features are a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ltaug.metrics.evaluated import Evaluated, Looked
from ltaug.metrics.measured import Features, Notebook, require_images

Doubles = npt.NDArray[np.float64]
LEAST_IMAGES = 2
_BLOCK = 4096


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and a factor F (D, R) of the covariance F F^T."""

    mean: Doubles
    factor: Doubles


def fid(given: Evaluated, notes: Notebook) -> None:
    """Enter fid, of all images and of each group's."""
    for suffix, ours, theirs in given.parts():
        notes.note([f"fid{suffix}"], partial(_fid, ours, theirs), unless=given.uninformative)


def _fid(generated: Looked, reference: Looked) -> tuple[float]:
    ours = gaussian(generated.features, what="generated images")
    return (frechet_distance(ours, gaussian(reference.features, what="reference images")),)


def gaussian(features: Features, *, what: str = "images") -> Gaussian:
    """The Gaussian with the moments of features (N, D), by the cheaper route.

    Args:
        what: how to name the images in the reason, such as "generated images".

    Raises:
        Unmeasurable: fewer than 2 images.
    """
    count, width = features.shape
    require_images(count, LEAST_IMAGES, what=what)
    if count <= width:
        mean = features.mean(0, dtype=np.float64)
        return Gaussian(mean, (features - mean).T / np.sqrt(count - 1))
    mean, covariance = moments(features)
    values, vectors = np.linalg.eigh(covariance)
    # A covariance has no negative eigenvalues; what eigh gives below zero is rounding.
    return Gaussian(mean, vectors * np.sqrt(values.clip(min=0)))


def moments(features: Features) -> tuple[Doubles, Doubles]:
    """Mean (D,) and unbiased covariance (D, D) of features (N, D) with N >= 2.

    Taken block by block (Chan, Golub and LeVeque 1979), so that no float64 copy of all features is held.
    """
    mean, scatter = np.zeros(features.shape[1]), np.zeros((features.shape[1], features.shape[1]))
    for seen in range(0, len(features), _BLOCK):
        block = features[seen : seen + _BLOCK].astype(np.float64)
        total, centre = seen + len(block), block.mean(0)
        block -= centre
        apart = centre - mean
        scatter += block.T @ block + np.outer(apart, apart) * (seen * len(block) / total)
        mean = mean + apart * (len(block) / total)
    return mean, scatter / (len(features) - 1)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet distance, at least 0; of a Gaussian with itself 0 up to rounding."""
    apart = a.mean - b.mean
    shared = np.linalg.svd(a.factor.T @ b.factor, compute_uv=False).sum()
    return max(0.0, float(apart @ apart + np.square(a.factor).sum() + np.square(b.factor).sum() - 2 * shared))
