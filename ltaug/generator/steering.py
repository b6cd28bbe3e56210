"""What decides an image besides noise and label: a real image that sampling starts from, a criterion that it climbs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltaug.data.imageset import Images
from ltaug.generator.denoiser import Preconditioning, per_image
from ltaug.generator.samplers import Denoise, Noise, Sampler
from ltaug.generator.space import PIXELS, Space
from ltaug.making import MakingOptions


@dataclass(frozen=True, kw_only=True)
class Start:
    """Images to start from: noised up to t/T = strength, then denoised (SDEdit; Meng et al., ICLR 2022)."""

    images: Callable[[Sequence[tuple[int, int]]], Images]  # for keys (class, index): uint8 (N, C, H, W)
    strength: float = MakingOptions.strength

    def levels(self, preconditioning: Preconditioning, steps: int) -> list[float]:
        """The noise levels of `preconditioning.grid(steps)` from t/T = strength down; the level nearest to it gives way to it."""
        grid = preconditioning.grid(steps)
        nearest = int((preconditioning.fraction(grid[:-1]) - self.strength).abs().argmin())
        return [preconditioning.level(self.strength), *grid[nearest + 1 :].tolist()]

    def noised(self, keys: Sequence[tuple[int, int]], sigma: float, noise: Tensor, space: Space = PIXELS) -> Tensor:
        """x (B, C, H, W) at the noise level sigma, from standard normal noise like it."""
        return space.encode(torch.from_numpy(self.images(keys)).to(noise.device)) + sigma * noise


@dataclass(frozen=True, kw_only=True)
class Guide:
    """Moves images uphill on a criterion every few steps of a sampler (as FG-DS; Askari Hemmat et al., 2023).

    Before step 0, `every`, 2 `every`, ... a noisy image x moves by scale |x| g / |g|, with g the gradient, through the denoiser,
    of the criterion at x' = s x0 + (1 - s) x_vp; s = sqrt(1 - abar), x0 is the denoiser's and x_vp is x in the scale of the
    variance-preserving diffusion. Norms are an image's own, so that its company does not matter.

    A sampler that goes by earlier steps (dpm++2m) begins anew after every move.
    """

    criterion: Callable[[Tensor, Tensor], Tensor]  # of images (B, C, H, W) in -1..1 and labels (B,): (B,), differentiable
    scale: float = MakingOptions.guide_scale
    every: int = MakingOptions.guide_every

    def sample(
        self,
        sampler: Sampler,
        denoise: Denoise,
        x: Tensor,
        sigmas: list[float],
        noise: Noise,
        labels: Tensor,
        space: Space = PIXELS,
    ) -> Tensor:
        """As `sampler(denoise, x, sigmas, noise)`, with moves."""
        for first in range(0, len(sigmas) - 1, self.every):
            x = self.moved(denoise, x, sigmas[first], labels, space)
            x = sampler(denoise, x, sigmas[first : first + self.every + 1], noise)
        return x

    def moved(self, denoise: Denoise, x: Tensor, sigma: float, labels: Tensor, space: Space = PIXELS) -> Tensor:
        """x (B, C, H, W) at the noise level sigma after one move."""
        to_vp = 1 / math.sqrt(1 + sigma**2)
        share = sigma * to_vp
        with torch.enable_grad():
            at = x.clone().requires_grad_()
            seen = share * denoise(at, sigma) + (1 - share) * to_vp * at
            (g,) = torch.autograd.grad(self.criterion(space.decode(seen), labels).sum(), at)
        direction = g / per_image(g.flatten(1).norm(dim=1).clamp_min(torch.finfo(g.dtype).tiny), g)
        return x + self.scale * per_image(x.flatten(1).norm(dim=1), x) * direction
