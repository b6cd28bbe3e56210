"""Kernel distance (KID; Binkowski et al., ICLR 2018, section 4): squared maximum mean discrepancy, without bias.

    k(x, y) = (x.y / D + 1)^3
    MMD^2 = mean of k over pairs of different x + mean of k over pairs of different y - 2 mean of k(x, y)

is taken on random subsets; KID is the mean over them. It has no small-sample bias, and so may be slightly negative. The
standard deviation over subsets says how far one subset of that size can be trusted, not how far the mean can.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.measured import Features, Notebook, require_images

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SUBSETS = 100
SUBSET_SIZE = 1000
_BLOCK = 1024


def kid(given: Evaluated, notes: Notebook) -> None:
    """Enter kid and kid_std."""
    ours, theirs = given.generated.features, given.reference.features
    notes.note(["kid", "kid_std"], lambda: kernel_distance(ours, theirs, seed=given.seed), unless=given.uninformative)
    smaller = min(len(ours), len(theirs))
    if 4 <= smaller < SUBSET_SIZE:
        notes.warnings.append(f"kid is of subsets of {subset_size(smaller)} images instead of {SUBSET_SIZE}")


def subset_size(smaller: int) -> int:
    """Images a subset, where the smaller sample has that many: 1000 as in the paper, or half of fewer than 1000.

    Half, so that the subsets of a small sample still differ.
    """
    return SUBSET_SIZE if smaller >= SUBSET_SIZE else smaller // 2


def kernel_distance(generated: Features, reference: Features, *, subsets: int = SUBSETS, seed: int = 0) -> tuple[float, float]:
    """KID's mean and standard deviation over subsets, of features (N, D) and (M, D).

    Subsets are drawn with NumPy's legacy generator, each from the generated, then from the reference images, without
    replacement: for at least 1000 images of either kind those of torch-fidelity with the same seed.

    Raises:
        Unmeasurable: fewer than 4 images on either side (subsets of 2).
    """
    require_images(len(generated), 4, what="generated images")
    require_images(len(reference), 4, what="reference images")
    size = subset_size(min(len(generated), len(reference)))
    rng = np.random.RandomState(seed)
    ours, theirs = np.empty((subsets, size), np.int64), np.empty((subsets, size), np.int64)
    for our, their in zip(ours, theirs, strict=True):
        our[:] = rng.choice(len(generated), size, replace=False)
        their[:] = rng.choice(len(reference), size, replace=False)
    within = _sums(generated, ours, generated, ours) - _diagonal(generated)[ours].sum(1)
    within += _sums(reference, theirs, reference, theirs) - _diagonal(reference)[theirs].sum(1)
    found = within / (size * (size - 1)) - 2 * _sums(generated, ours, reference, theirs) / size**2
    return float(found.mean()), float(found.std())


def _sums(x: Features, of_x: Ints, y: Features, of_y: Ints) -> Doubles:
    """(S,) sum of the kernel over all pairs from subset s of x and subset s of y; subsets as indices (S, size)."""
    if len(x) * len(y) > of_x.size * of_y.shape[1]:
        return np.array([_kernel(x[rows], y[columns]).sum() for rows, columns in zip(of_x, of_y, strict=True)])
    # Subsets meet the same pairs again and again: take every pair once.
    in_x, in_y = _membership(of_x, len(x)), _membership(of_y, len(y))
    sums = np.zeros_like(in_y)
    blocks = [[slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)] for count in (len(x), len(y))]
    for rows, columns in product(*blocks):
        sums[:, columns] += in_x[:, rows] @ _kernel(x[rows], y[columns])
    return np.asarray((sums * in_y).sum(1), np.float64)


def _kernel(x: Features, y: Features) -> Doubles:
    base: Doubles = x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1
    return base * base * base


def _diagonal(x: Features) -> Doubles:
    """(N,) the kernel of every image with itself."""
    base: Doubles = np.einsum("nd,nd->n", x, x, dtype=np.float64) / x.shape[1] + 1
    return base * base * base


def _membership(subsets: Ints, count: int) -> Doubles:
    """(S, count), 1 where the image is in the subset."""
    member = np.zeros((len(subsets), count))
    np.put_along_axis(member, subsets, 1.0, axis=1)
    return member
