"""ADA: geometric augmentation that does not leak, because the network is told what was done to each image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.generator.augmentations import Augmentation
from ltaug.generator.denoiser import per_image

LABEL_CHANNELS = 9


def ada(x0: Tensor, *, p: float = 0.12) -> tuple[Tensor, Tensor]:
    """Vary x0 (B, C, H, W); returns it with its label (B, 9).

    Source: Karras et al., NeurIPS 2022 (EDM), appendix F.2, with the pipeline of ADA (Karras et al., NeurIPS 2020).
    """
    a = draw_parameters(len(x0), p=p, device=x0.device)
    return transform(x0, a), label_of(a)


def draw_parameters(count: int, *, p: float, device: torch.device) -> Tensor:
    """a0..a7, (count, 8); 0 where an operation is left out.

    a0, a1 from {0, 1} (mirror x, mirror y), a2 ~ N(0, 1) (scale 2^(.2 a2)), a3 ~ U(-pi, pi) (rotation), a4 ~ U(-pi, pi) and
    a5 ~ N(0, 1) (stretch by 2^(.2 a5) along direction a4, squeeze across it), a6, a7 ~ N(0, 1) (shift by a6 W/8, a7 H/8).
    The mirror in x is always drawn; every other operation is with probability p.
    """
    coins = torch.randint(2, (count, 2), device=device).float()
    n = torch.randn(count, 4, device=device)
    angles = (2 * torch.rand(count, 2, device=device) - 1) * math.pi
    on = (torch.rand(count, 5, device=device) < p).float()
    y, scale, rotate, stretch, shift = on.unbind(1)
    parts = [coins[:, 0], coins[:, 1] * y, n[:, 0] * scale, angles[:, 0] * rotate]
    parts += [angles[:, 1] * stretch, n[:, 1] * stretch, n[:, 2] * shift, n[:, 3] * shift]
    return torch.stack(parts, dim=1)


def label_of(a: Tensor) -> Tensor:
    """[a0, a1, a2, cos a3 - 1, sin a3, a5 cos a4, a5 sin a4, a6, a7], (B, 9); zeros where nothing was done."""
    a0, a1, a2, a3, a4, a5, a6, a7 = a.unbind(1)
    return torch.stack([a0, a1, a2, a3.cos() - 1, a3.sin(), a5 * a4.cos(), a5 * a4.sin(), a6, a7], dim=1)


def transform(x0: Tensor, a: Tensor) -> Tensor:
    """x0 under a0..a7, in their order: mirrors exactly, all the rest in one bilinear warp with reflected borders."""
    x0 = torch.where(per_image(a[:, 0], x0) > 0, x0.flip(-1), x0)
    x0 = torch.where(per_image(a[:, 1], x0) > 0, x0.flip(-2), x0)
    grid = F.affine_grid(_sources(a, height=x0.shape[-2], width=x0.shape[-1]), list(x0.shape), align_corners=False)
    warped = F.grid_sample(x0, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return torch.where(per_image((a[:, 2:] != 0).any(1).float(), x0) > 0, warped, x0)  # untouched ones stay exact


def _sources(a: Tensor, *, height: int, width: int) -> Tensor:
    """(B, 2, 3): where in the image each place of the result comes from, in affine_grid's coordinates.

    Worked in pixels from the centre, so that a rotation stays one where images are not square.
    """
    _, _, a2, a3, a4, a5, a6, a7 = a.unbind(1)
    along, across = torch.exp2(-0.2 * a5), torch.exp2(0.2 * a5)
    stretch = _rotation(a4) @ torch.diag_embed(torch.stack([along, across], 1)) @ _rotation(-a4)
    back = torch.exp2(-0.2 * a2)[:, None, None] * (_rotation(-a3) @ stretch)  # every step undone, the last one first
    shift = torch.stack([a6 * width / 8, a7 * height / 8], 1)[:, :, None]
    half = torch.stack([torch.full((), side / 2, device=a.device) for side in (width, height)])  # filled where it is needed
    return torch.cat([back * half / half[:, None], -(back @ shift) / half[:, None]], dim=2)


def _rotation(angle: Tensor) -> Tensor:
    """(B, 2, 2)."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)


ADA = Augmentation(ada, label_channels=LABEL_CHANNELS, mirrors=True)
