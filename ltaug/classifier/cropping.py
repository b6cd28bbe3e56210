"""Augmentations by rectangles of random area and shape: an image's crop enlarged to its size, or a part of it erased.

Each takes a Batch with images in [-1, 1] and returns a new one. All draws are per image, from torch's global generator, and none
makes the host wait for the device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.classifier.batches import Batch

TRIES = 10  # draws of an area and a shape, the first of which that fits into the image counts
ERASED = 0.25  # probability that a part of an image is erased
Pair = tuple[float, float]


def resized_crop(batch: Batch, *, crop_scale: float) -> Batch:
    """torchvision's RandomResizedCrop: a crop of `crop_scale` to all of the area and of sides 3:4 to 4:3, enlarged bilinearly.

    A crop is never larger than the image, so antialiasing would change nothing.
    """
    images = batch.images
    h, w = images.shape[2:]
    height, width = _sides(images, area=(crop_scale, 1.0), ratio=(3 / 4, 4 / 3), most=(h, w))
    (top, height), (left, width) = (
        # Where nothing fits: all of the image, but for both ends of what is too long for its other side.
        (torch.where(length == 0, (size - most) // 2, _place(length, size)), torch.where(length == 0, most, length))
        for length, size, most in ((height, h, min(h, round(w * 4 / 3))), (width, w, min(w, round(h * 4 / 3))))
    )
    return batch._replace(images=resampled(images, top, height, left, width))


def erase(batch: Batch) -> Batch:
    """Random erasing (Zhong et al., AAAI 2020): with probability ERASED a rectangle of 2 to 33 % of the area becomes noise.

    The noise is drawn for every pixel, uniform over the range of images.
    """
    images = batch.images
    h, w = images.shape[2:]
    height, width = _sides(images, area=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3), most=(h - 1, w - 1))
    height = height * (torch.rand(len(images), device=images.device) < ERASED)
    rows, columns = _inside(h, _place(height, h), height), _inside(w, _place(width, w), width)
    erased = rows[:, None, :, None] & columns[:, None, None, :]
    return batch._replace(images=torch.where(erased, torch.empty_like(images).uniform_(-1, 1), images))


def resampled(images: Tensor, top: Tensor, height: Tensor, left: Tensor, width: Tensor) -> Tensor:
    """Each image's rectangle (whole pixels, (B,) each) enlarged bilinearly to the image's size; no pixel outside it counts."""
    h, w = images.shape[2:]
    y, x = _read_at(h, top, height), _read_at(w, left, width)
    grid = torch.stack([x[:, None, :].expand(-1, h, -1), y[:, :, None].expand(-1, -1, w)], dim=3)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _read_at(size: int, first: Tensor, length: Tensor) -> Tensor:
    """Where each of `size` pixels is read in a stretch of `length` pixels from `first` on, (B, size) in -1..1 over `size`."""
    place = (torch.arange(size, device=first.device) + 0.5) * length[:, None] / size - 0.5
    inside = place.clamp_min(0).minimum(length[:, None] - 1) + first[:, None]
    return (2 * inside + 1) / size - 1


def _sides(images: Tensor, *, area: Pair, ratio: Pair, most: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Height and width of a rectangle for each image, (B,) whole pixels of 1 to `most`; both 0 where no try fits.

    Args:
        area: as a share of the image's, drawn uniformly.
        ratio: of width to height, whose logarithm is drawn uniformly.
    """
    b, _, h, w = images.shape
    shares, shapes = torch.rand(2, b, TRIES, device=images.device).unbind()
    root = ((area[0] + (area[1] - area[0]) * shares) * (h * w)).sqrt()
    low, high = map(math.log, ratio)
    stretch = (0.5 * (low + (high - low) * shapes)).exp()
    height, width = (root / stretch).round(), (root * stretch).round()
    fits = (height >= 1) & (height <= most[0]) & (width >= 1) & (width <= most[1])
    first = fits.byte().argmax(1, keepdim=True)
    height, width = ((side * fits).gather(1, first).squeeze(1) for side in (height, width))
    return height, width


def _place(length: Tensor, size: int) -> Tensor:
    """The first pixel of a stretch of each `length` at a random place within `size`."""
    free = size - length
    return (torch.rand_like(length) * (free + 1)).floor().minimum(free)  # rounding may reach free + 1


def _inside(size: int, first: Tensor, length: Tensor) -> Tensor:
    """Which of `size` pixels lie in the stretch, bool (B, size)."""
    place = torch.arange(size, device=first.device)
    return (place >= first[:, None]) & (place < (first + length)[:, None])
