"""Augmentation of training images as batched tensor functions on the device.

Each takes and returns float images (B, C, H, W) in [-1, 1] and draws from torch's global generator, which fitting seeds
at every step. Only crop-flip mirrors, so that every other one is safe for digits and letters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.errors import OptionError
from ltaug.methods import CLASSIFIER_AUGMENTATIONS

Augmentation = Callable[[Tensor], Tensor]

RANDAUGMENT_GROUPS = 16


def keep(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


def shift(images: Tensor) -> Tensor:
    """Move each image by up to an eighth of its sides, whole pixels, black (-1) coming in: the pad-4 crop at 32 pixels."""
    b, _, h, w = images.shape
    dy, dx = math.ceil(h / 8), math.ceil(w / 8)
    padded = F.pad(images, (dx, dx, dy, dy), value=-1.0)
    device = images.device
    rows = torch.randint(2 * dy + 1, (b, 1), device=device) + torch.arange(h, device=device)
    columns = torch.randint(2 * dx + 1, (b, 1), device=device) + torch.arange(w, device=device)
    image = torch.arange(b, device=device)
    picked = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def shift_rotate(images: Tensor, *, degrees: float = 12.0, scale: float = 0.1) -> Tensor:
    """Move by up to an eighth of the sides, turn by up to `degrees` and zoom by 1 +- `scale`, in one bilinear resampling."""
    b, _, h, w = images.shape
    angle, zoom, x, y = torch.empty(4, b, device=images.device).uniform_(-1, 1).unbind()
    angle = angle * math.radians(degrees)
    inverse = 1 / (1 + scale * zoom)
    cos, sin = inverse * angle.cos(), inverse * angle.sin()
    # Normalised coordinates span 2 across a side: an eighth of the side is 0.25. h/w keeps a rotation rigid.
    theta = torch.stack([cos, -sin * (h / w), x / 4, sin * (w / h), cos, y / 4], dim=1).view(b, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1


def crop_flip(images: Tensor) -> Tensor:
    """`shift`, and mirror every other image: the usual CIFAR augmentation."""
    moved = shift(images)
    mirrored = torch.rand(len(moved), 1, 1, 1, device=moved.device) < 0.5
    return torch.where(mirrored, moved.flip(3), moved)


def randaugment(images: Tensor) -> Tensor:
    """RandAugment (Cubuk et al., 2020; 2 operations of magnitude 9); it neither mirrors nor crops.

    Combined as crop-flip+randaugment it is the field's usual strong augmentation.

    The operations are drawn once for each of 16 interleaved parts of the batch: each image's distribution is the
    paper's, at an eighth of the cost of a batch of 128 drawn image by image.

    Raises:
        OptionError: the images have neither 1 nor 3 channels.
    """
    if images.shape[1] not in (1, 3):
        raise OptionError(f"--augment randaugment: {images.shape[1]} channels are not 1 or 3; use crop-flip or shift")
    coded = ((images + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).contiguous()
    operations = _randaugment_operations()
    for first in range(min(RANDAUGMENT_GROUPS, len(coded))):
        coded[first::RANDAUGMENT_GROUPS] = operations(coded[first::RANDAUGMENT_GROUPS].contiguous())
    return coded.to(images.dtype).div_(127.5).sub_(1)


@cache
def _randaugment_operations() -> Augmentation:
    from torchvision.transforms import v2  # slow to import, and few runs need it

    return cast(Augmentation, cast(Any, v2).RandAugment(num_ops=2, magnitude=9))


def build_augmentation(name: str) -> Augmentation:
    """The augmentation of this name; names joined by "+" are applied one after the other.

    Raises:
        OptionError: a name that CLASSIFIER_AUGMENTATIONS does not have.
    """
    return partial(_one_after_the_other, tuple(map(CLASSIFIER_AUGMENTATIONS.find, name.split("+"))))


def _one_after_the_other(parts: tuple[Augmentation, ...], images: Tensor) -> Tensor:
    for part in parts:
        images = part(images)
    return images
