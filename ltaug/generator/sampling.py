"""A generator sampled as options say, one part after another: what synthesis and evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltaug.data.imageset import Images
from ltaug.generator.batching import BatchSize, batch_for
from ltaug.generator.cpu_forms import suit
from ltaug.generator.generate import Key, generate
from ltaug.generator.guidance import interval_of
from ltaug.generator.samplers import find_sampler
from ltaug.generator.stage import Generator
from ltaug.options import SamplingOptions
from ltaug.runtime import Runtime


def check_sampling(sampler: str, guidance_interval: Sequence[float]) -> None:
    """Say what is wrong with these before anything is computed.

    Raises:
        OptionError: an unknown sampler, or a guidance interval that is none.
    """
    find_sampler(sampler)
    interval_of(guidance_interval)


def passes_of(options: SamplingOptions, images: int) -> int:
    """How many images go through the network to make `images`, as runtime.for_sampling counts them."""
    return images * options.sample_steps * (1 if options.guidance == 0 else 2)


@dataclass(frozen=True)
class Source:
    """Images of a generator by their keys; make one with `open_source`.

    Attributes:
        batch: how many are generated at a time, fewer once memory ran out.
    """

    generator: Generator
    options: SamplingOptions
    batch: BatchSize
    seed: int
    runtime: Runtime

    def __call__(self, keys: Sequence[Key]) -> Images:
        """uint8 (N, C, H, W), image (class, index) for every key."""
        return generate(
            self.generator.denoiser,
            keys,
            image_shape=self.generator.image_shape,
            seed=self.seed,
            runtime=self.runtime,
            sampler=self.options.sampler,
            sample_steps=self.options.sample_steps,
            guidance=self.options.guidance,
            guidance_interval=self.options.guidance_interval,
            batch_size=self.batch,
        )


def open_source(
    generator: Generator, options: SamplingOptions, images: int, *, seed: int, runtime: Runtime, tell: Callable[[str], None]
) -> Source:
    """Ready to generate `images` in all; `tell` hears where memory runs out. The generator takes the runtime's form for good."""
    batch = batch_for(
        options.sample_batch,
        images,
        denoiser=generator.denoiser,
        image_shape=generator.image_shape,
        guidance=options.guidance,
        runtime=runtime,
        tell=tell,
    )
    suit(generator.denoiser.backbone, runtime)
    return Source(generator, options, batch, seed, runtime)
