"""Probes (`--freeze body`): a last layer that learns from features, which the rest of the network gives of every image once."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltaug.classifier.batches import Pool, to_input
from ltaug.classifier.judge import looking
from ltaug.classifier.models import penultimate
from ltaug.feed import Resident
from ltaug.runtime import Runtime

BATCH = 64  # images whose features are computed at a time


class Probe(nn.Module):
    """The last layer of a network, which is trained in place, with timm's interface for `feature_pool`'s features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.head = cast(nn.Module, cast(Any, network).get_classifier())

    def forward_features(self, x: Tensor) -> Tensor:
        return x[:, :, 0, 0]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else cast(Tensor, self.head(features))

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@torch.no_grad()
def feature_pool(pool: Pool, network: nn.Module, *, mirrored: bool, runtime: Runtime) -> Pool:
    """The pool with features (D) that `network`, in evaluation mode from now on, gives of its images in place of these.

    They are as images of D channels and one pixel, float32 (N, D, 1, 1), on the device. Where images may be `mirrored`, the
    features of the mirror image are a second pixel, so that to mirror an image and its features is the same.
    """
    network.eval()
    found: list[Tensor] = []
    with looking(runtime).autocast():
        for _, images in pool.images.batches(torch.split(torch.arange(len(pool.labels)), BATCH)):
            x = to_input(images)
            sides = [penultimate(network, side).float() for side in ([x, x.flip(3)] if mirrored else [x])]
            found.append(torch.stack(sides, dim=2)[:, :, None])
    return dataclasses.replace(pool, images=Resident(torch.cat(found)))
