"""Sampling with the noise and the class apart, and everything the network expected on the way kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltaug.data.imageset import Images
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.generate import ImageNoise, Key
from ltaug.generator.sampling import Sampling, bind
from ltaug.methods import SAMPLERS
from ltaug.runtime import Runtime


@dataclass(frozen=True)
class Trajectory:
    """What one batch of images looked like to the network, from noise to the end.

    Attributes:
        sigmas: the S noise levels, decreasing; the 0 at their end is left out.
        estimates: float32 (S, N, C, H, W), the clean image expected at each level, in -1..1.
        images: uint8 (N, C, H, W), what sampling ended in.
    """

    sigmas: tuple[float, ...]
    estimates: npt.NDArray[np.float32]
    images: Images


@torch.inference_mode()
def follow(
    denoiser: Denoiser,
    labels: Sequence[int],
    noises: Sequence[Key],
    *,
    image_shape: tuple[int, int, int],
    seed: int,
    runtime: Runtime,
    sampling: Sampling,
) -> Trajectory:
    """Sample one batch: image i of class labels[i], from the noise that `generate` gives image noises[i]."""
    sigmas = denoiser.preconditioning.grid(sampling.steps).tolist()
    noise = ImageNoise(noises, seed=seed, image_shape=image_shape, device=runtime.device)
    own = torch.tensor(labels, device=runtime.device)
    bound = bind(denoiser, own, guidance=sampling.guidance, guidance_interval=sampling.interval)
    seen: dict[float, Tensor] = {}

    def recorded(x: Tensor, sigma: float) -> Tensor:
        x0 = bound(x, sigma)
        seen[sigma] = x0.float().cpu()  # Heun comes to a level twice; the second time is the one it goes on from
        return x0

    with runtime.autocast():
        start = noise() * denoiser.preconditioning.prior_scale()
        x = SAMPLERS.find(sampling.sampler)(recorded, start, sigmas, noise, **sampling.settings)
    estimates = torch.stack([seen[s] for s in sigmas[:-1]]).numpy()
    return Trajectory(tuple(sigmas[:-1]), estimates, to_pixels(x.float().cpu().numpy()))


def to_pixels(x0: npt.NDArray[np.float32]) -> Images:
    """-1..1 as grey levels."""
    return ((x0.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
