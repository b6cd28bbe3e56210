"""Samplers side by side: `(denoise, x, sigmas, noise, **own options) -> x`, all in sigma space.

`denoise(x, sigma)` gives x0 (B, C, H, W) for one noise level, with labels and guidance bound into it; `sigmas` decrease
and end in 0; `noise()` draws standard normal noise like x, from every image's own stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
Noise = Callable[[], Tensor]
Sampler = Callable[..., Tensor]


def ddpm(denoise: Denoise, x: Tensor, sigmas: list[float], noise: Noise, *, variance: str = "fixedlarge") -> Tensor:
    """Ancestral sampling (Ho et al., NeurIPS 2020).

    Args:
        variance: "fixedlarge" (beta_t) or "fixedsmall" (the posterior's), both for the VP process.
    """
    for s, r in pairwise(sigmas):
        x0 = denoise(x, s)
        x = x0 + (r / s) ** 2 * (x - x0)
        if r > 0:
            x = x + math.sqrt(ancestral_variance(s, r, variance=variance)) * noise()
    return x


def ancestral_variance(s: float, r: float, *, variance: str) -> float:
    """Variance of x at level r given x at level s > r, in sigma space."""
    if variance == "fixedsmall":
        return r**2 * (s**2 - r**2) / s**2
    return (1 + r**2) * (s**2 - r**2) / (1 + s**2)


def ddim(denoise: Denoise, x: Tensor, sigmas: list[float], noise: Noise) -> Tensor:
    """DDIM with eta = 0 (Song et al., ICLR 2021): Euler's method in sigma space."""
    for s, r in pairwise(sigmas):
        x0 = denoise(x, s)
        x = x0 + (r / s) * (x - x0)
    return x


def heun(denoise: Denoise, x: Tensor, sigmas: list[float], noise: Noise) -> Tensor:
    """Heun's second-order method (Karras et al., NeurIPS 2022, algorithm 1); two denoisings a step but the last."""
    for s, r in pairwise(sigmas):
        slope = (x - denoise(x, s)) / s
        euler = x + (r - s) * slope
        x = euler if r == 0 else x + (r - s) * (slope + (euler - denoise(euler, r)) / r) / 2
    return x


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: list[float], noise: Noise) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., 2022, algorithm 2): second-order multistep in x0; the last step is first order."""
    before: Tensor | None = None
    h_before = 0.0
    for s, r in pairwise(sigmas):
        x0 = denoise(x, s)
        if r == 0:
            return x0
        h = math.log(s / r)
        estimate = x0 if before is None else x0 + h / (2 * h_before) * (x0 - before)
        x = (r / s) * x - math.expm1(-h) * estimate
        before, h_before = x0, h
    return x
