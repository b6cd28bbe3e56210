"""Images from a generator, each from its own random stream, whatever the batch they happen to be made in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltaug.generator.batching import ON_CPU, BatchSize
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.guidance import bind
from ltaug.generator.sampling import Sampling
from ltaug.methods import SAMPLERS
from ltaug.runtime import Runtime, derive_seed

Key = tuple[int, int]  # (class, index within the class)


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
) -> npt.NDArray[np.uint8]:
    """Image (class, index) for every key.

    Every batch has the same size (the last one is filled up and cut), so that an image goes through the same kernels
    wherever it stands. Where the device runs out of memory the batch is halved and made again, and what follows has the
    smaller size: the images are the same up to the rounding of other kernels.

    Args:
        batch_size: images at a time; a BatchSize remembers, for the calls to come, that it was halved.

    Returns:
        uint8 (N, C, H, W) in the order of `keys`.

    Raises:
        OptionError: an unknown sampler.
        LtaugError: the memory does not hold one image.
    """
    batch = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    sample = partial(SAMPLERS.find(sampling.sampler), **sampling.settings)
    sigmas = denoiser.preconditioning.grid(sampling.steps).tolist()

    @torch.inference_mode()
    def attempt(part: list[Key]) -> npt.NDArray[np.uint8] | None:
        """One batch, or None where memory ran out."""
        filled = part + [part[-1]] * (batch.size - len(part))
        try:
            noise = ImageNoise(filled, seed=seed, image_shape=image_shape, device=runtime.device)
            labels = torch.tensor([c for c, _ in filled], device=runtime.device)
            denoise = bind(denoiser, labels, guidance=sampling.guidance, guidance_interval=sampling.interval)
            with runtime.autocast():
                x = sample(denoise, noise() * denoiser.preconditioning.prior_scale(), sigmas, noise)
            pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            return np.asarray(pixels[: len(part)].cpu().numpy())
        except torch.OutOfMemoryError:
            return None  # here, and not where the error still holds on to what filled the memory, is there room again

    made: list[npt.NDArray[np.uint8]] = []
    start = 0
    while start < len(keys):
        images = attempt(list(keys[start : start + batch.size]))
        if images is None:
            batch.halve()
            if runtime.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        made.append(images)
        start += len(images)
    return np.concatenate(made) if made else np.zeros((0, *image_shape), np.uint8)
