"""A stand-in for a generator's judges: features that are linear in the pixels, known places of the classes."""

from __future__ import annotations

import math

import torch

from ltaug.generator.objectives.terms import Judged


def toy_judged(image_shape=(1, 8, 8), *, classes=3, features=4, device="cpu"):
    """Classes of different widths; the same whatever was drawn before."""
    stream = torch.Generator().manual_seed(0)
    weight = (torch.randn(math.prod(image_shape), features, generator=stream) / 8).to(device)
    centroids = torch.randn(classes, features, generator=stream).to(device)
    return Judged(lambda x: x.flatten(1) @ weight.to(x.dtype), centroids, 1 + torch.arange(classes, device=device) / 2)
