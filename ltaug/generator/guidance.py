"""Classifier-free guidance: labels and strength bound into a denoiser, both branches in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ltaug.generator.denoiser import Denoiser
from ltaug.generator.samplers import Denoise


def bind(denoiser: Denoiser, labels: Tensor, *, guidance: float = 0.0, clip: bool = True) -> Denoise:
    """`denoise(x, sigma) -> x0` under these labels.

    Args:
        labels: (B,) class indices.
        guidance: w in eps = eps_c + w (eps_c - eps_0) (Ho & Salimans, 2022); 0 is plain conditional, one branch.
        clip: keep x0 inside [-1, 1], as DDPM does.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        levels = torch.full((len(x),), sigma, device=x.device, dtype=x.dtype)
        if guidance == 0:
            x0: Tensor = denoiser(x, levels, labels).x0
        else:
            nobody = torch.full_like(labels, denoiser.null_label)
            both = denoiser(torch.cat([x, x]), torch.cat([levels, levels]), torch.cat([labels, nobody])).x0
            conditional, unconditional = both.chunk(2)
            x0 = conditional + guidance * (conditional - unconditional)  # linear, so the same in x0 as in eps
        return x0.clamp(-1, 1) if clip else x0

    return denoise
