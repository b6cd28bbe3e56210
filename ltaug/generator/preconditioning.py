"""Preconditionings: what a noise level means to a network (VP, the DDPM's, and EDM's)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ltaug.generator.denoiser import per_image


class VP:
    """The variance-preserving diffusion of DDPM (Ho et al., NeurIPS 2020) in sigma space.

    T = 1000 steps, linear beta from 1e-4 to 0.02, sigma_t^2 = 1/abar_t - 1. The network sees x / sqrt(1 + sigma^2) and
    t, and predicts eps; the loss is the plain mean over eps. A published network may have other betas, and predict
    v = (eps - sigma x0) / sqrt(1 + sigma^2) (Salimans and Ho, ICLR 2022), where the loss is the plain mean over v.
    """

    T: int = 1000

    def __init__(self, beta: Tensor | None = None, *, prediction: str = "epsilon") -> None:
        beta = torch.linspace(1e-4, 0.02, self.T, dtype=torch.float64) if beta is None else beta
        self.T, self.prediction = len(beta), prediction
        self.abar = torch.cumprod(1 - beta, 0)
        self.sigmas = (1 / self.abar - 1).sqrt()
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(sigmas in float32, log sigmas) on the device."""
        if device not in self._tables:
            self._tables[device] = (self.sigmas.float().to(device), self.sigmas.log().float().to(device))
        return self._tables[device]

    def draw(self, count: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
        t = torch.randint(self.T, (count,), device=device)
        return self._table(device)[0][t], t / self.T

    def loss_weight(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma) if self.prediction == "epsilon" else 1 + sigma.square()

    def time(self, sigma: Tensor) -> Tensor:
        """t in [0, T - 1] at which sigma_t = sigma, interpolated in log sigma between the steps."""
        log_sigmas = self._table(sigma.device)[1]
        log_sigma = sigma.clamp_min(1e-8).log().to(log_sigmas.dtype)
        upper = torch.searchsorted(log_sigmas, log_sigma.contiguous()).clamp(1, self.T - 1)
        low, high = log_sigmas[upper - 1], log_sigmas[upper]
        return (upper - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)).to(sigma.dtype)

    def fraction(self, sigma: Tensor) -> Tensor:
        return self.time(sigma) / self.T

    def level(self, fraction: float) -> float:
        return self._levels(torch.tensor(fraction * self.T, dtype=torch.float64).clamp(max=self.T - 1)).item()

    def _levels(self, t: Tensor) -> Tensor:
        """sigma_t for any float64 t in [0, T - 1], interpolated in log sigma between the steps."""
        below = t.floor().long().clamp(max=self.T - 2)
        log_sigmas = self.sigmas.log()
        return torch.lerp(log_sigmas[below], log_sigmas[below + 1], t - below).exp()

    def inputs(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return x * per_image((1 + sigma.square()).rsqrt(), x), self.time(sigma)

    def outputs(self, x: Tensor, sigma: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
        if self.prediction == "epsilon":
            return x - per_image(sigma, x) * prediction, prediction
        to_vp, sigma = per_image((1 + sigma.square()).rsqrt(), x), per_image(sigma, x)
        return to_vp * (to_vp * x - sigma * prediction), to_vp * (sigma * to_vp * x + prediction)

    def grid(self, steps: int) -> Tensor:
        """Steps evenly spaced in sqrt(t) from T - 1 to 0, then 0; `steps` = T visits every t once, for exact DDPM.

        The quadratic spacing of DDIM (Song et al., ICLR 2021, appendix D.2), with t interpolated in log sigma. Of even
        spacing in t, sqrt(t), log sigma and sigma^(1/7) it came nearest to the exact flow over all samplers at 10 to 40
        steps (benchmarks/RESULTS.md); even in t, dpm++2m takes a last step too long for its extrapolation.
        """
        if steps == self.T:
            levels = self.sigmas.flip(0)
        else:
            t = torch.linspace((self.T - 1) ** 0.5, 0, steps, dtype=torch.float64).square().clamp(max=self.T - 1)
            levels = self._levels(t)
        return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])

    def prior_scale(self) -> float:
        return float((1 + self.sigmas[-1].square()).sqrt())


def betas(schedule: str | None, steps: int, first: float, last: float, trained: Sequence[float] | None = None) -> Tensor | None:
    """The variances of so many steps, float64 (T,), by the names of diffusers' schedules; None for a name that is none.

    `scaled_linear` is linear in the root (Rombach et al., CVPR 2022), `squaredcos_cap_v2` the cosine schedule (Nichol and
    Dhariwal, ICML 2021, equation 17). Given `trained` ones are taken as they are.
    """
    if trained is not None:
        return torch.tensor(trained, dtype=torch.float64)
    if schedule == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    if schedule == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
    if schedule == "squaredcos_cap_v2":
        abar = torch.cos((torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * torch.pi / 2).square()
        return (1 - abar[1:] / abar[:-1]).clamp(max=0.999)
    return None


class EDM:
    """The preconditioning of EDM (Karras et al., NeurIPS 2022, table 1 and section 5).

    ln sigma ~ N(P_mean, P_std^2); D(x) = c_skip x + c_out F(c_in x, ln(sigma) / 4), sigma_data = 0.5. EDM's loss is lambda
    times the squared error of x0, lambda = 1 / c_out^2; in eps, as here, it is lambda sigma^2 = (sigma^2 + sigma_data^2) /
    sigma_data^2 times the squared error, so that the error of F has weight 1 everywhere.

    t/T, which CBDM and CORAL weight by, is not specified for EDM by their papers. Here it is that of the VP noise level
    with the same signal-to-noise ratio 1 / sigma^2, which in sigma space is the one with the same sigma; below VP's first
    level it is 0, and beyond its last 0.999.
    """

    def __init__(
        self,
        *,
        sigma_data: float = 0.5,
        p_mean: float = -1.2,
        p_std: float = 1.2,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
    ) -> None:
        self.sigma_data, self.p_mean, self.p_std = sigma_data, p_mean, p_std
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho
        self._vp = VP()

    def draw(self, count: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
        sigma = (self.p_mean + self.p_std * torch.randn(count, device=device)).exp()
        return sigma, self.fraction(sigma)

    def loss_weight(self, sigma: Tensor) -> Tensor:
        return (sigma.square() + self.sigma_data**2) / self.sigma_data**2

    def fraction(self, sigma: Tensor) -> Tensor:
        return self._vp.fraction(sigma)

    def level(self, fraction: float) -> float:
        return min(self._vp.level(fraction), self.sigma_max)

    def inputs(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        c_in = (sigma.square() + self.sigma_data**2).rsqrt()
        return x * per_image(c_in, x), sigma.log() / 4

    def outputs(self, x: Tensor, sigma: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
        variance = sigma.square() + self.sigma_data**2
        # (x - D(x)) / sigma with the division done by hand: at the smallest sigma the difference would be rounding.
        eps = per_image(sigma / variance, x) * x - per_image(self.sigma_data * variance.rsqrt(), x) * prediction
        return x - per_image(sigma, x) * eps, eps

    def grid(self, steps: int) -> Tensor:
        """Evenly spaced in sigma^(1/rho) from sigma_max to sigma_min, then 0 (equation 5)."""
        first, last = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        levels = torch.linspace(first, last, steps, dtype=torch.float64) ** self.rho
        return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])

    def prior_scale(self) -> float:
        return self.sigma_max
