"""Classifier-free guidance: labels and strength bound into a denoiser, both branches in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ltaug.generator.denoiser import Denoiser, Preconditioning
from ltaug.generator.samplers import Denoise
from ltaug.options import EVERYWHERE


def guides(preconditioning: Preconditioning, sigma: float, interval: Sequence[float]) -> bool:
    """Whether the noise level sigma lies in the interval of t/T, its ends included."""
    if tuple(interval) == EVERYWHERE:
        return True
    fraction = preconditioning.fraction(torch.tensor([sigma], dtype=torch.float64)).item()
    return interval[0] <= fraction <= interval[1]


def bind(
    denoiser: Denoiser,
    labels: Tensor,
    *,
    guidance: float = 0.0,
    guidance_interval: Sequence[float] = EVERYWHERE,
    clip: bool = True,
) -> Denoise:
    """`denoise(x, sigma) -> x0` under these labels.

    Args:
        labels: (B,) class indices.
        guidance: w in eps = eps_c + w (eps_c - eps_0) (Ho & Salimans, 2022); 0 is plain conditional, one branch.
        guidance_interval: guide at noise levels of these t/T only (Kynkaanniemi et al., NeurIPS 2024, who give the interval
            in sigma); elsewhere it is plain conditional.
        clip: keep x0 inside [-1, 1], as DDPM does.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        levels = torch.full((len(x),), sigma, device=x.device, dtype=x.dtype)
        if guidance == 0 or not guides(denoiser.preconditioning, sigma, guidance_interval):
            x0: Tensor = denoiser(x, levels, labels).x0
        else:
            nobody = torch.full_like(labels, denoiser.null_label)
            both = denoiser(torch.cat([x, x]), torch.cat([levels, levels]), torch.cat([labels, nobody])).x0
            conditional, unconditional = both.chunk(2)
            x0 = conditional + guidance * (conditional - unconditional)  # linear, so the same in x0 as in eps
        return x0.clamp(-1, 1) if clip else x0

    return denoise
