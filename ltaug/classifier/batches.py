"""Which images make up each training batch: a pure function of the seed and the step, so a run resumes exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltaug.data.imageset import ImageSet, Labels
from ltaug.errors import OptionError, nearest
from ltaug.feed import Feed, feed
from ltaug.runtime import derive_seed

REAL, SYNTHETIC = 0, 1
SAMPLINGS = ("natural", "balanced")


def to_input(images: Tensor) -> Tensor:
    """uint8 images as the network sees them: float32 in [-1, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)


@dataclass(frozen=True)
class Pool:
    """The merged training set for a device: the real images, then the synthetic ones.

    Attributes:
        images: a feed of all N.
        labels, sources: int64 (N,) on the device; a source is REAL or SYNTHETIC.
        class_counts: int64 (2, K), images per source and class, on the CPU.
    """

    images: Feed
    labels: Tensor
    sources: Tensor
    class_counts: Tensor


def make_pool(train: ImageSet, synthetic: ImageSet | None, *, device: torch.device, limit: int | None = None) -> Pool:
    """Merge the two sets, their images resident on the device where they have fewer than `limit` bytes (see `feed`)."""
    sets = [train] if synthetic is None else [train, synthetic]
    sources = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    counts = np.stack([train.class_counts, np.zeros_like(train.class_counts) if synthetic is None else synthetic.class_counts])
    return Pool(
        images=feed(*(s.images for s in sets), device=device, limit=limit),
        labels=torch.from_numpy(np.concatenate([s.labels for s in sets])).to(device),
        sources=torch.from_numpy(sources).to(device),
        class_counts=torch.from_numpy(counts),
    )


def shuffled(size: int, start: int, count: int, *seed: int | str) -> Labels:
    """Places start .. start+count-1 of an endless row of fresh permutations of range(size), int64 (count,)."""
    parts = [
        np.random.Generator(np.random.PCG64(derive_seed(*seed, epoch))).permutation(size)
        for epoch in range(start // size, -(-(start + count) // size))
    ]
    offset = start % size
    return np.concatenate(parts).astype(np.int64)[offset : offset + count]


@dataclass(frozen=True)
class BatchPlan:
    """The make-up of every batch of a run.

    Attributes:
        labels: of the real images, (N,); image i of the merged set is real for i < N.
        synthetic: number of synthetic images.
        batch_size: images a batch.
        synthetic_per_batch: how many of them are synthetic, or None to shuffle the merged set as a whole.
        balanced: whether real classes come equally often, rather than real images.
    """

    labels: Labels
    synthetic: int
    batch_size: int
    synthetic_per_batch: int | None
    balanced: bool
    seed: int

    def indices(self, first: int, steps: int) -> Labels:
        """Indices into the merged set for steps first .. first+steps-1, int64 (steps, batch_size)."""
        n, m, b = len(self.labels), self.synthetic, self.batch_size
        if self.synthetic_per_batch is None:
            return shuffled(n + m, first * b, steps * b, self.seed, "classifier", "merged").reshape(steps, b)
        s = self.synthetic_per_batch
        draw = self._balanced if self.balanced else self._natural
        real = draw(first * (b - s), steps * (b - s)).reshape(steps, b - s) if s < b else np.empty((steps, 0), np.int64)
        made = shuffled(m, first * s, steps * s, self.seed, "classifier", "synthetic").reshape(steps, s) + n if s else real[:, :0]
        return np.concatenate([real, made], axis=1)

    def _natural(self, start: int, count: int) -> Labels:
        return shuffled(len(self.labels), start, count, self.seed, "classifier", "real")

    def _balanced(self, start: int, count: int) -> Labels:
        """Rounds over the classes in random order; the r-th round takes the r-th place of each class's own permutations."""
        classes = np.unique(self.labels)
        k = len(classes)
        first, last = start // k, -(-(start + count) // k)
        table = np.empty((last - first, k), np.int64)
        for column, label in enumerate(classes):
            members = np.flatnonzero(self.labels == label)
            table[:, column] = members[shuffled(len(members), first, last - first, self.seed, "classifier", "class", int(label))]
        columns = shuffled(k, start, count, self.seed, "classifier", "classes")
        return table[np.arange(start, start + count) // k - first, columns]


def plan_batches(
    train: ImageSet, synthetic: ImageSet | None, *, batch_size: int, sampling: str, synthetic_fraction: float | None, seed: int
) -> BatchPlan:
    """Decide how batches are made up.

    Args:
        sampling: "natural", real images as they come, or "balanced", real classes equally often.
        synthetic_fraction: share of every batch that is synthetic; None for the share in the merged set. Of no effect
            without synthetic images.

    Raises:
        OptionError: an unknown sampling, or a fraction of which a batch cannot hold one image.
    """
    if sampling not in SAMPLINGS:
        raise OptionError(f"--sampling {sampling!r} is unknown; {nearest(sampling, SAMPLINGS)}")
    n, m = len(train), 0 if synthetic is None else len(synthetic)
    balanced = sampling == "balanced"
    per_batch: int | None = None
    if m == 0:
        per_batch = 0 if balanced else None
    elif synthetic_fraction is not None:
        per_batch = round(synthetic_fraction * batch_size)
        if (per_batch == 0 and synthetic_fraction > 0) or (per_batch == batch_size and synthetic_fraction < 1):
            raise OptionError(
                f"--synthetic-fraction {synthetic_fraction:g} of a batch of {batch_size} is {per_batch} images; "
                "use a larger --batch-size, or 0 or 1"
            )
    elif balanced:
        per_batch = min(max(round(m / (n + m) * batch_size), 1), batch_size - 1)
    return BatchPlan(train.labels, m, batch_size, per_batch, balanced, seed)
