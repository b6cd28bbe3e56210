"""A generator's images, made one part after another: what synthesis and evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltaug.data.imageset import Images
from ltaug.generator.batching import BatchSize, batch_for
from ltaug.generator.cpu_forms import suit
from ltaug.generator.generate import Key, generate
from ltaug.generator.sampling import Sampling
from ltaug.generator.stage import Generator
from ltaug.options import SamplingOptions
from ltaug.runtime import Runtime


@dataclass(frozen=True)
class GeneratedImages:
    """Images of a generator by their keys; make one with `open_generated`.

    Attributes:
        batch: how many are generated at a time, fewer once memory ran out.
    """

    generator: Generator
    sampling: Sampling
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
            sampling=self.sampling,
            batch_size=self.batch,
        )


def open_generated(
    generator: Generator, options: SamplingOptions, images: int, *, seed: int, runtime: Runtime, tell: Callable[[str], None]
) -> GeneratedImages:
    """Ready to generate `images` in all; `tell` hears where memory runs out. Converts the network in place."""
    sampling = Sampling.of(options)
    batch = batch_for(
        options.sample_batch,
        images,
        denoiser=generator.denoiser,
        image_shape=generator.image_shape,
        guidance=sampling.guidance,
        runtime=runtime,
        tell=tell,
    )
    suit(generator.denoiser.backbone, runtime)
    return GeneratedImages(generator, sampling, batch, seed, runtime)
