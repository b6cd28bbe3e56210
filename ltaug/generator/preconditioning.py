"""Preconditionings: what a noise level means to a network (VP, the DDPM's)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ltaug.generator.denoiser import NoiseLevels, Preconditioning, per_image


class VP:
    """The variance-preserving diffusion of DDPM (Ho et al., NeurIPS 2020) in sigma space.

    T = 1000 steps, linear beta from 1e-4 to 0.02, sigma_t^2 = 1/abar_t - 1. The network sees x / sqrt(1 + sigma^2) and
    t, and predicts eps; the loss is the plain mean over eps.
    """

    T: ClassVar[int] = 1000

    def __init__(self) -> None:
        beta = torch.linspace(1e-4, 0.02, self.T, dtype=torch.float64)
        self.abar = torch.cumprod(1 - beta, 0)
        self.sigmas = (1 / self.abar - 1).sqrt()
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(sigmas in float32, log sigmas) on the device."""
        if device not in self._tables:
            self._tables[device] = (self.sigmas.float().to(device), self.sigmas.log().float().to(device))
        return self._tables[device]

    def draw(self, count: int, *, device: torch.device) -> NoiseLevels:
        t = torch.randint(self.T, (count,), device=device)
        return NoiseLevels(self._table(device)[0][t], t / self.T)

    def loss_weight(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def time(self, sigma: Tensor) -> Tensor:
        """t in [0, T - 1] at which sigma_t = sigma, interpolated in log sigma between the steps."""
        log_sigmas = self._table(sigma.device)[1]
        log_sigma = sigma.clamp_min(1e-8).log().to(log_sigmas.dtype)
        upper = torch.searchsorted(log_sigmas, log_sigma.contiguous()).clamp(1, self.T - 1)
        low, high = log_sigmas[upper - 1], log_sigmas[upper]
        return (upper - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)).to(sigma.dtype)

    def inputs(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return x * per_image((1 + sigma.square()).rsqrt(), x), self.time(sigma)

    def outputs(self, x: Tensor, sigma: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
        return x - per_image(sigma, x) * prediction, prediction

    def grid(self, steps: int) -> Tensor:
        """Steps evenly spaced in t from T - 1 to 0, then 0; `steps` = T visits every t."""
        t = torch.linspace(self.T - 1, 0, steps, dtype=torch.float64).round().long() if steps > 1 else torch.tensor([self.T - 1])
        return torch.cat([self.sigmas[t], torch.zeros(1, dtype=torch.float64)])

    def prior_scale(self) -> float:
        return float((1 + self.sigmas[-1].square()).sqrt())


PRECONDITIONINGS: dict[str, type[VP]] = {"vp": VP}
_: type[Preconditioning] = VP  # the registry's entries meet the contract
