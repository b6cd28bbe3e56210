"""DiffAug: colour, translation and cutout of training images, without telling the network; a negative control."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.generator.augmentations import Augmentation


def diffaug(x0: Tensor) -> Tensor:
    """x0 (B, C, H, W) with colour, translation and cutout (Zhao et al., NeurIPS 2020, DiffAugment).

    Made for the discriminator of a GAN, which sees only varied images. A diffusion model that is trained on them draws
    them: the CBDM paper has it as a baseline that hurts (FID 9.19 for DDPM's 7.38 on CIFAR-100-LT).
    """
    return cutout(translated(coloured(x0)))


def coloured(x: Tensor) -> Tensor:
    """Brightness + U(-.5, .5), then saturation x U(0, 2), then contrast x U(.5, 1.5)."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device).unbind(0)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * saturation * (x - grey)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (x - mean)


def translated(x: Tensor) -> Tensor:
    """Shifted by up to an eighth of a side in whole pixels, zeros coming in."""
    _, _, height, width = x.shape
    by_y, by_x = round(height / 8), round(width / 8)
    padded = F.pad(x, (by_x, by_x, by_y, by_y))
    rows = _offsets(len(x), 2 * by_y + 1, x.device)[:, None] + torch.arange(height, device=x.device)
    columns = _offsets(len(x), 2 * by_x + 1, x.device)[:, None] + torch.arange(width, device=x.device)
    images = torch.arange(len(x), device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def cutout(x: Tensor) -> Tensor:
    """A rectangle of half of each side, centred on any pixel, set to zero."""
    rows, columns = _band(x, x.shape[2]), _band(x, x.shape[3])
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _band(x: Tensor, side: int) -> Tensor:
    """(B, side) bool: half of the side around a random place, cut off at the ends."""
    place = torch.arange(side, device=x.device) - _offsets(len(x), side, x.device)[:, None] + side // 4
    return (place >= 0) & (place < side // 2)


def _offsets(count: int, below: int, device: torch.device) -> Tensor:
    return torch.randint(below, (count,), device=device)


DIFFAUG = Augmentation(lambda x0: (diffaug(x0), None))
