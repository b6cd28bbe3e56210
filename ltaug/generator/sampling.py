"""How a generator is sampled, as one value that travels whole; classifier-free guidance, both branches in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ltaug.fields import settings_of
from ltaug.generator.denoiser import Denoiser, Preconditioning
from ltaug.generator.samplers import Denoise
from ltaug.options import EVERYWHERE, SamplerOptions


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A sampler with its settings, and classifier-free guidance as in `bind`."""

    sampler: str = SamplerOptions.sampler  # a key of methods.SAMPLERS
    settings: Mapping[str, Any] = field(default_factory=dict)  # the sampler's own keyword arguments
    steps: int = SamplerOptions.sample_steps
    guidance: float = 0.0
    interval: tuple[float, ...] = EVERYWHERE

    @classmethod
    def of(cls, options: SamplerOptions, *, guidance: float | None = None) -> Sampling:
        """What the options say; `guidance` in place of theirs, or where they have none."""
        return cls(
            sampler=options.sampler,
            settings=settings_of(options, "sampler", options.sampler),
            steps=options.sample_steps,
            guidance=getattr(options, "guidance", 0.0) if guidance is None else guidance,
            interval=options.guidance_interval,
        )

    def passes(self, images: int) -> int:
        """How many images go through the network to make `images`, as runtime.for_sampling counts them."""
        return images * self.steps * (1 if self.guidance == 0 else 2)

    def as_json(self) -> dict[str, Any]:
        """For records, under the options' names."""
        interval = list(self.interval)
        own = {"sampler": self.sampler, "sample_steps": self.steps, "guidance": self.guidance, "guidance_interval": interval}
        return {**own, **self.settings}


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
        clip: keep x0 inside [-1, 1], as DDPM does; latents, which have no bounds, are left as they are.
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
        return x0.clamp(-1, 1) if clip and denoiser.space.bounded else x0

    return denoise
