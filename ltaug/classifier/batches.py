"""Which images make up each training batch: a pure function of the seed and the step, so a run resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.data.imageset import ImageSet, Labels
from ltaug.feed import Feed, feed
from ltaug.methods import CLASSIFIER_AUGMENTATIONS, CLASSIFIER_SAMPLINGS
from ltaug.options import ClassifierOptions
from ltaug.runtime import derive_seed

REAL, SYNTHETIC = 0, 1


class Batch(NamedTuple):
    """What a training step learns from, on the device.

    Labels and sources are either indices or weights, the same in all batches of a fit. As drawn they are indices, int64 (B,):
    the class of each image, and REAL or SYNTHETIC. An augmentation that mixes images makes them weights, float32, that sum to
    1 for each image: over the K classes, (B, K), and over the two sources, (B, 2).

    The class prior of a mixed image is the mixture of its sources' priors by these weights, which is the expected value of its
    label weights. Its weight in the loss is the mixture over its sources and classes.
    """

    images: Tensor  # float32 (B, C, H, W); (2B, C, H, W) where donors stand behind them (fusion.with_donors)
    labels: Tensor
    sources: Tensor
    class_counts: Tensor  # int64 (2, K), training images per source and class

    def mixed(self, images: Tensor, *, partner: Tensor, share: Tensor, donors: Batch | None = None) -> Batch:
        """The batch with `images`, (B, C, H, W), and labels and sources mixed as these were.

        Args:
            partner: int64 (B,), the index of the image that each one is mixed with.
            share: float32 (B,), the weight of the image's own label and source; the rest is its partner's.
            donors: the batch that `partner` indexes [default: this one].
        """
        own, other = share[:, None], self if donors is None else donors
        s, k = self.class_counts.shape
        return self._replace(
            images=images,
            labels=own * as_weights(self.labels, k) + (1 - own) * as_weights(other.labels, k)[partner],
            sources=own * as_weights(self.sources, s) + (1 - own) * as_weights(other.sources, s)[partner],
        )


def as_weights(given: Tensor, size: int) -> Tensor:
    """Indices (B,) or weights (B, size), as weights."""
    return F.one_hot(given, size).float() if given.ndim == 1 else given


def to_input(images: Tensor) -> Tensor:
    """uint8 images as network input: float32 in [-1, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)


@dataclass(frozen=True)
class Pool:
    """The merged training set on a device: the real images, then the synthetic ones."""

    images: Feed
    labels: Tensor  # int64 (N,)
    sources: Tensor  # int64 (N,), REAL or SYNTHETIC
    class_counts: Tensor  # int64 (2, K), images per source and class


def make_pool(train: ImageSet, synthetic: ImageSet | None, *, device: torch.device, limit: int | None = None) -> Pool:
    """Merge the two sets; their images are put on the device if they have fewer than `limit` bytes (see `feed`)."""
    sets = [train] if synthetic is None else [train, synthetic]
    sources = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    counts = np.stack([train.class_counts, np.zeros_like(train.class_counts) if synthetic is None else synthetic.class_counts])
    return Pool(
        images=feed(*(s.images for s in sets), device=device, limit=limit),
        labels=torch.from_numpy(np.concatenate([s.labels for s in sets])).to(device),
        sources=torch.from_numpy(sources).to(device),
        class_counts=torch.from_numpy(counts).to(device),
    )


def shuffled(size: int, start: int, count: int, *seed: int | str) -> Labels:
    """Items start .. start+count-1 of an endless sequence of fresh permutations of range(size), int64 (count,)."""
    parts = [
        np.random.Generator(np.random.PCG64(derive_seed(*seed, epoch))).permutation(size)
        for epoch in range(start // size, -(-(start + count) // size))
    ]
    offset = start % size
    return np.concatenate(parts).astype(np.int64)[offset : offset + count]


@dataclass(frozen=True)
class RealSampling:
    """How real images are drawn (methods.CLASSIFIER_SAMPLINGS)."""

    # (labels, start, count, seed) -> indices of draws start .. start+count-1, int64 (count,)
    draw: Callable[[Labels, int, int, int], Labels]
    # images per class -> how often each class is drawn in as many draws; the adjusted losses add its log
    prior: Callable[[Tensor], Tensor]


def _natural(labels: Labels, start: int, count: int, seed: int) -> Labels:
    return shuffled(len(labels), start, count, seed, "classifier", "real")


def _balanced(labels: Labels, start: int, count: int, seed: int) -> Labels:
    """Rounds over the classes in random order; round r takes item r of each class's own sequence of permutations."""
    classes = np.unique(labels)
    k = len(classes)
    first, last = start // k, -(-(start + count) // k)
    table = np.empty((last - first, k), np.int64)
    for column, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        table[:, column] = members[shuffled(len(members), first, last - first, seed, "classifier", "class", int(label))]
    columns = shuffled(k, start, count, seed, "classifier", "classes")
    return table[np.arange(start, start + count) // k - first, columns]


NATURAL = RealSampling(_natural, prior=lambda counts: counts)
BALANCED = RealSampling(_balanced, prior=lambda counts: (counts > 0) * (counts.sum() / (counts > 0).sum()))


@dataclass(frozen=True)
class BatchPlan:
    """What every batch of a fit is made of."""

    labels: Labels  # of the real images, (N,); image i of the merged set is real for i < N
    synthetic: int  # number of synthetic images
    batch_size: int
    synthetic_per_batch: int | None  # how many of a batch are synthetic; None shuffles the merged set as a whole
    real: RealSampling  # how the others are drawn
    seed: int
    donors: Labels | None = None  # the labels of the merged set, where an augmentation takes donors

    def indices(self, first: int, steps: int) -> Labels:
        """Indices into the merged set for steps first .. first+steps-1, int64 (steps, batch_size), donors behind each batch.

        As many donors as a batch has images are drawn, every class equally often.
        """
        drawn = self._indices(first, steps)
        if self.donors is None:
            return drawn
        start, count, seed = first * self.batch_size, steps * self.batch_size, derive_seed(self.seed, "donors")
        return np.concatenate([drawn, _balanced(self.donors, start, count, seed).reshape(drawn.shape)], axis=1)

    def _indices(self, first: int, steps: int) -> Labels:
        n, m, b = len(self.labels), self.synthetic, self.batch_size
        if self.synthetic_per_batch is None:
            return shuffled(n + m, first * b, steps * b, self.seed, "classifier", "merged").reshape(steps, b)
        s = self.synthetic_per_batch
        wanted = (first * (b - s), steps * (b - s))
        real = self.real.draw(self.labels, *wanted, self.seed).reshape(steps, b - s) if s < b else np.empty((steps, 0), np.int64)
        made = shuffled(m, first * s, steps * s, self.seed, "classifier", "synthetic").reshape(steps, s) + n if s else real[:, :0]
        return np.concatenate([real, made], axis=1)


def plan_batches(train: ImageSet, synthetic: ImageSet | None, options: ClassifierOptions, *, seed: int) -> BatchPlan:
    """Decide what batches are made of; options.synthetic_fraction has no effect without synthetic images.

    Raises:
        OptionError: an unknown sampling.
    """
    n, m, b = len(train), 0 if synthetic is None else len(synthetic), options.batch_size
    real: RealSampling = CLASSIFIER_SAMPLINGS.find(options.sampling)
    per_batch: int | None = None
    if m > 0 and options.synthetic_fraction is not None:
        per_batch = round(options.synthetic_fraction * b)
    elif real is not NATURAL:
        per_batch = min(max(round(m / (n + m) * b), 1), b - 1) if m > 0 else 0
    merged = train.labels if synthetic is None else np.concatenate([train.labels, synthetic.labels])
    donors = merged if any(map(takes_donors, options.augment.split("+"))) else None
    return BatchPlan(train.labels, m, b, per_batch, real, seed, donors)


def takes_donors(augmentation: str) -> bool:
    """Whether the augmentation of this name mixes images with some that are drawn from every class equally often."""
    return augmentation in CLASSIFIER_AUGMENTATIONS and CLASSIFIER_AUGMENTATIONS.about(augmentation).donors
