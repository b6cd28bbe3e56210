"""Augmentation of training batches, as batched tensor functions on the device.

Each takes a Batch with images in [-1, 1] and returns a new one; it never writes to its input. It draws from torch's global
generator, which fitting seeds at every step. Its own options reach it as keyword arguments. Those that mix images are in
mixing.py, those that crop to any size in cropping.py. Only those with flip in their name mirror, so every other one is safe for
digits and letters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.classifier.batches import Batch, takes_donors
from ltaug.errors import OptionError
from ltaug.fields import settings_of
from ltaug.methods import CLASSIFIER_AUGMENTATIONS
from ltaug.options import ClassifierOptions


class Augmentation(Protocol):
    """What a fit does to a batch."""

    def __call__(self, batch: Batch, donors: Batch | None = None) -> Batch:
        """Augment the batch; `donors` (default: the batch itself) is what patches are cut from (`BatchPlan.donors`)."""


RANDAUGMENT_GROUPS = 16


def keep(batch: Batch) -> Batch:
    """Leave the batch unchanged."""
    return batch


def shift(batch: Batch) -> Batch:
    """Move each image by whole pixels, up to an eighth of its sides, and fill with black: the pad-4 crop at 32 pixels."""
    images = batch.images
    b, _, h, w = images.shape
    dy, dx = math.ceil(h / 8), math.ceil(w / 8)
    padded = F.pad(images, (dx, dx, dy, dy), value=-1.0)
    device = images.device
    rows = torch.randint(2 * dy + 1, (b, 1), device=device) + torch.arange(h, device=device)
    columns = torch.randint(2 * dx + 1, (b, 1), device=device) + torch.arange(w, device=device)
    image = torch.arange(b, device=device)
    picked = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    return batch._replace(images=picked.permute(0, 3, 1, 2))


def shift_rotate(batch: Batch, *, degrees: float = 12.0, scale: float = 0.1) -> Batch:
    """Shift by up to an eighth of the sides, rotate by up to `degrees` and zoom by 1 +- `scale`, in one bilinear resampling."""
    images = batch.images
    b, _, h, w = images.shape
    angle, zoom, x, y = torch.empty(4, b, device=images.device).uniform_(-1, 1).unbind()
    angle = angle * math.radians(degrees)
    inverse = 1 / (1 + scale * zoom)
    cos, sin = inverse * angle.cos(), inverse * angle.sin()
    # Normalised coordinates span 2 across a side: an eighth of the side is 0.25. h/w keeps a rotation rigid.
    theta = torch.stack([cos, -sin * (h / w), x / 4, sin * (w / h), cos, y / 4], dim=1).view(b, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1
    return batch._replace(images=moved)


def flip(batch: Batch) -> Batch:
    """Mirror each image with probability 1/2."""
    images = batch.images
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return batch._replace(images=torch.where(mirrored, images.flip(3), images))


def crop_flip(batch: Batch) -> Batch:
    """`shift`, then `flip`: the usual CIFAR augmentation."""
    return flip(shift(batch))


def randaugment(batch: Batch) -> Batch:
    """RandAugment (Cubuk et al., 2020; 2 operations of magnitude 9); it neither mirrors nor crops.

    crop-flip+randaugment is the usual strong augmentation.

    The operations are drawn once for each of 16 interleaved parts of the batch: each image's distribution is the
    paper's, at an eighth of the cost of a batch of 128 drawn image by image.

    Raises:
        OptionError: the images have neither 1 nor 3 channels.
    """
    images = batch.images
    if images.shape[1] not in (1, 3):
        raise OptionError(f"--augment randaugment: {images.shape[1]} channels are not 1 or 3; use crop-flip or shift")
    coded = ((images + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).contiguous()
    operations = _randaugment_operations()
    for first in range(min(RANDAUGMENT_GROUPS, len(coded))):
        coded[first::RANDAUGMENT_GROUPS] = operations(coded[first::RANDAUGMENT_GROUPS].contiguous())
    return batch._replace(images=coded.to(images.dtype).div_(127.5).sub_(1))


@cache
def _randaugment_operations() -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2  # slow to import, and few runs need it

    return cast(Callable[[Tensor], Tensor], cast(Any, v2).RandAugment(num_ops=2, magnitude=9))


def build_augmentation(options: ClassifierOptions) -> Augmentation:
    """The augmentations that options.augment names, joined by "+", applied in that order to a batch and to its donors.

    Raises:
        OptionError: a name that CLASSIFIER_AUGMENTATIONS does not have.
    """
    parts = [
        (partial(CLASSIFIER_AUGMENTATIONS.find(name), **settings_of(options, "augment", name)), takes_donors(name))
        for name in options.augment.split("+")
    ]

    def augment(batch: Batch, donors: Batch | None = None) -> Batch:
        for part, takes in parts:
            if takes:
                batch = part(batch, batch if donors is None else donors)
            else:
                batch, donors = part(batch), donors and part(donors)
        return batch

    return augment
