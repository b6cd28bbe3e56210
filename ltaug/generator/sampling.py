"""How a generator is sampled, as one value that travels whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltaug.fields import settings_of
from ltaug.options import EVERYWHERE, SamplerOptions


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A sampler with its settings, and classifier-free guidance.

    Attributes:
        sampler: a key of methods.SAMPLERS.
        settings: the sampler's own keyword arguments.
        steps: noise levels that it goes through.
        guidance: w in eps = eps_c + w (eps_c - eps_0) (Ho & Salimans, 2022); 0 is plain conditional.
        interval: guide at t/T between these two only, both included.
    """

    sampler: str = SamplerOptions.sampler
    settings: Mapping[str, Any] = field(default_factory=dict)
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
