"""Features of other images fused into those of a second stage's (`--refit-fusion`; H2T, Li et al., AAAI 2024).

The batch is drawn as the second stage says, with H2T class-balanced, and its donors as images come: mostly of large classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltaug.classifier.batches import Batch
from ltaug.classifier.models import penultimate


def with_donors(batches: Iterator[Batch], donors: Iterator[Batch]) -> Iterator[Batch]:
    """Batches whose images (2B, C, H, W) are their own and then those of as many donors; labels and sources stay their own."""
    for batch, other in zip(batches, donors, strict=True):
        yield batch._replace(images=torch.cat([batch.images, other.images]))


def fused_logits(images: Tensor, *, network: nn.Module, share: float) -> Tensor:
    """Logits (B, K) of images (2B, C, H, W) `with_donors`: a `share` of each image's features is that of its donor.

    Features are what enters the last layer, pooled. The paper exchanges channels of the feature map before pooling, which is the
    same wherever each channel is pooled by itself. Which channels is drawn anew at every step, for the whole batch.
    """
    own, donated = penultimate(network, images).chunk(2)
    width = own.shape[1]
    taken = torch.rand(width, device=own.device).argsort() < round(share * width)
    return cast(Tensor, cast(Any, network).get_classifier()(torch.where(taken, donated, own)))
