"""A finished generator and its images, each from its own random stream, whatever the batch they happen to be made in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltaug.checkpoints import put, read_tensors
from ltaug.data.imageset import Images
from ltaug.errors import DataError
from ltaug.generator.batching import ON_CPU, BatchSize, batch_for, in_batches
from ltaug.generator.cpu_forms import suit
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.finding import pipeline_of
from ltaug.generator.fit import build_denoiser
from ltaug.generator.sampling import Sampling, bind
from ltaug.generator.space import to_pixels
from ltaug.generator.steering import Guide, Start
from ltaug.generator.trainee import final_weights
from ltaug.generator.tuning import frozen
from ltaug.methods import SAMPLERS
from ltaug.options import SamplingOptions
from ltaug.records import GeneratorRecord
from ltaug.runtime import Runtime, derive_seed

Key = tuple[int, int]  # (class, index within the class)
AGAIN = 4  # times that an image is made again


class ImageNoise:
    """Standard normal noise for a batch, every image from the stream of (seed, class, index).

    Drawn on the CPU, so an image does not depend on the device's random numbers either.
    """

    def __init__(self, keys: Sequence[Key], *, seed: int, image_shape: tuple[int, int, int], device: torch.device) -> None:
        self._streams = [torch.Generator().manual_seed(derive_seed(seed, "image", c, i)) for c, i in keys]
        self._shape = image_shape
        self._device = device

    def __call__(self) -> Tensor:
        """(B, C, H, W), the next draw of every stream."""
        return torch.stack([torch.randn(self._shape, generator=g) for g in self._streams]).to(self._device)


def generate(
    denoiser: Denoiser,
    keys: Sequence[Key],
    *,
    image_shape: tuple[int, int, int],
    seed: int,
    runtime: Runtime,
    sampling: Sampling = Sampling(),  # noqa: B008
    batch_size: int | BatchSize = ON_CPU,
    start: Start | None = None,
    guide: Guide | None = None,
) -> Images:
    """Image (class, index) for every key.

    Every batch has the same size (the last one is filled up and cut), so that an image goes through the same kernels
    wherever it stands. Where the device runs out of memory the batch is halved and made again, and what follows has the
    smaller size: the images are the same up to the rounding of other kernels. An image that is not finite is made again, from
    the next stream of its key, up to AGAIN times.

    Args:
        batch_size: images at a time; a BatchSize remembers, for the calls to come, that it was halved, and
            tells of that and of images made again.
        start: real images to start from; None is pure noise.
        guide: what moves images besides the sampler.

    Returns:
        uint8 (N, C, H, W) in the order of `keys`.

    Raises:
        OptionError: an unknown sampler.
        ResourceError: the memory does not hold one image.
        DataError: an image is not finite however often it is made.
    """
    batch = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    sample = partial(SAMPLERS.find(sampling.sampler), **sampling.settings)
    scheme, space = denoiser.preconditioning, denoiser.space
    sigmas = scheme.grid(sampling.steps).tolist() if start is None else start.levels(scheme, sampling.steps)

    @torch.inference_mode(mode=guide is None)  # a guide takes gradients
    def attempt(part: list[int], stream: int) -> tuple[Images, npt.NDArray[np.bool_]] | None:
        """The images at these places of `keys`, and which of them are finite; None where memory ran out."""
        filled = [keys[i] for i in part + [part[-1]] * (batch.size - len(part))]
        try:
            own = derive_seed(seed, "again", stream) if stream else seed
            noise = ImageNoise(filled, seed=own, image_shape=space.shape_of(image_shape), device=runtime.device)
            labels = torch.tensor([c for c, _ in filled], device=runtime.device)
            denoise = bind(denoiser, labels, guidance=sampling.guidance, guidance_interval=sampling.interval)
            with runtime.autocast(), torch.no_grad():
                x = noise() * scheme.prior_scale() if start is None else start.noised(filled, sigmas[0], noise(), space)
                if guide is None:
                    x = sample(denoise, x, sigmas, noise)
                else:
                    x = guide.sample(sample, denoise, x, sigmas, noise, labels, space)
                pixels = to_pixels(space.decode(x))
            finite = x.isfinite().flatten(1).all(1)
            return pixels[: len(part)].cpu().numpy(), finite[: len(part)].cpu().numpy()
        except torch.OutOfMemoryError:
            return None  # here, and not where the error still holds on to what filled the memory, is there room again

    return _until_finite(attempt, len(keys), batch, image_shape)


def _until_finite(
    attempt: Callable[..., tuple[Images, npt.NDArray[np.bool_]] | None],
    count: int,
    batch: BatchSize,
    image_shape: tuple[int, int, int],
) -> Images:
    """So many images, (count, C, H, W), each made by attempt(places, stream=n) from the first stream in which it is finite."""
    images, left = np.zeros((count, *image_shape), np.uint8), list(range(count))
    for stream in range(AGAIN + 1):
        if stream:
            batch.tell(f"{len(left)} of {count} images were not finite and are made again.")
        bad: list[int] = []
        for part, (made, finite) in in_batches(left, batch, partial(attempt, stream=stream)):
            images[part] = made
            bad += itertools.compress(part, ~finite)
        if not bad:
            return images
        left = bad
    raise DataError(
        f"{len(left)} of {count} images are not finite, {AGAIN + 1} times over, so the generator's weights are of no use; "
        "fit it anew with a smaller --lr"
    )


@dataclass(frozen=True)
class Generator:
    """A finished generator run, loaded for sampling."""

    denoiser: Denoiser  # the averaged network in evaluation mode on the runtime's device
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    digest: str  # SHA-256 of its weights file
    path: Path
    steps: int  # training steps behind the weights, with those of the generator it was started from

    @classmethod
    def load(cls, path: Path, *, runtime: Runtime) -> Generator:
        """Open a finished fit-generator run.

        Raises:
            MismatchError: another stage's run, or not finished.
            CorruptError: its weights are missing or damaged.
        """
        made = GeneratorRecord.read(path, finished=True)
        names, (c, h, w) = made.class_names, made.image_shape
        pipeline = pipeline_of(made, download=False)
        denoiser = build_denoiser(made.options, image_shape=(c, h, w), num_classes=len(names), pipeline=pipeline)
        final = final_weights(made.options.steps)
        made.verify(final)
        put(frozen(denoiser) | read_tensors(path / final), denoiser, path / final)
        denoiser.to(runtime.device).to(memory_format=torch.channels_last)
        return cls(denoiser.eval().requires_grad_(False), names, (c, h, w), made.outputs[final], path, made.steps)


@dataclass(frozen=True)
class GeneratedImages:
    """Images of a generator by their keys; make one with `open_generated`."""

    generator: Generator
    sampling: Sampling
    batch: BatchSize  # how many are generated at a time, fewer once memory ran out
    seed: int
    runtime: Runtime
    start: Start | None = None
    guide: Guide | None = None

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
            start=self.start,
            guide=self.guide,
        )


def open_generated(
    generator: Generator,
    options: SamplingOptions,
    images: int,
    *,
    seed: int,
    runtime: Runtime,
    tell: Callable[[str], None],
    start: Start | None = None,
    guide: Guide | None = None,
) -> GeneratedImages:
    """Ready to generate `images` in all; `tell` hears where memory runs out. Converts the network in place."""
    denoiser, sampling = generator.denoiser, Sampling.of(options)
    batch = batch_for(
        options.sample_batch,
        images,
        denoiser=denoiser,
        image_shape=generator.image_shape,
        guidance=sampling.guidance,
        runtime=runtime,
        tell=tell,
    )
    suit(denoiser.backbone, runtime)
    return GeneratedImages(generator, sampling, batch, seed, runtime, start, guide)
