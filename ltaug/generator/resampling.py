"""Which training images make a step's batch: as they come, or resampled towards rare classes (RS, RS-SQRT)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ltaug.runtime import derive_seed


def class_shares(class_counts: Tensor, *, power: float) -> Tensor:
    """(K,) float64, proportional to n_c ** power over the classes present, 0 for the others."""
    counts = class_counts.double()
    share = torch.where(counts > 0, counts.clamp_min(1) ** power, 0.0)
    return share / share.sum()


def image_probabilities(labels: Tensor, class_counts: Tensor, *, power: float) -> Tensor:
    """(N,) float64: an image's probability is its class's share over the class's count.

    RS and RS-SQRT are the resampling baselines that the CBDM paper compares with (Qin et al., CVPR 2023).
    """
    return (class_shares(class_counts, power=power) / class_counts.clamp_min(1))[labels]


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch)))


def rows_of_step(step: int, *, batch_size: int, count: int, seed: int) -> Tensor:
    """(batch_size,) training rows of a step: one permutation of the set after another, cut into batches."""
    start = step * batch_size
    rows: list[Tensor] = []
    while len(rows) * count < start % count + batch_size:
        rows.append(_permutation(count, seed, start // count + len(rows)))
    return torch.cat(rows)[start % count : start % count + batch_size]


def resampled_rows_of_step(step: int, *, batch_size: int, probabilities: Tensor, seed: int) -> Tensor:
    """(batch_size,) training rows of a step, each drawn on its own with these probabilities (N,).

    Independent draws, not systematic ones: with fewer images in a batch than classes, systematic sampling would never put
    two of a class into one batch, and CORAL would find no positives.
    """
    stream = torch.Generator().manual_seed(derive_seed(seed, "rows", step))
    return torch.multinomial(probabilities, batch_size, replacement=True, generator=stream)
