"""Images from a generator, each from its own random stream, whatever the batch they happen to be made in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltaug.generator.denoiser import Denoiser
from ltaug.generator.guidance import bind
from ltaug.generator.samplers import find_sampler
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


@torch.inference_mode()
def generate(
    denoiser: Denoiser,
    keys: Sequence[Key],
    *,
    image_shape: tuple[int, int, int],
    seed: int,
    runtime: Runtime,
    sampler: str = "dpm++2m",
    sample_steps: int = 20,
    guidance: float = 0.0,
    batch_size: int = 256,
) -> npt.NDArray[np.uint8]:
    """Image (class, index) for every key.

    Every batch has the same size (the last one is filled up and cut), so that an image goes through the same kernels
    wherever it stands.

    Returns:
        uint8 (N, C, H, W) in the order of `keys`.
    """
    sigmas = denoiser.preconditioning.grid(sample_steps).tolist()
    made: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(keys), batch_size):
        part = list(keys[start : start + batch_size])
        filled = part + [part[-1]] * (batch_size - len(part))
        noise = ImageNoise(filled, seed=seed, image_shape=image_shape, device=runtime.device)
        labels = torch.tensor([c for c, _ in filled], device=runtime.device)
        with runtime.autocast():
            x = find_sampler(sampler)(
                bind(denoiser, labels, guidance=guidance), noise() * denoiser.preconditioning.prior_scale(), sigmas, noise
            )
        pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        made.append(pixels[: len(part)].cpu().numpy())
    return np.concatenate(made) if made else np.zeros((0, *image_shape), np.uint8)
