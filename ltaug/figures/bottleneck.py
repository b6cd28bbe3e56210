"""What a generator's network makes of real images: its bottleneck at one noise level, averaged over positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ltaug.data.imageset import AnyImages, Labels
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.fit import to_unit
from ltaug.generator.preconditioning import VP
from ltaug.runtime import Runtime, derive_seed

BATCH = 256


@torch.inference_mode()
def bottleneck(
    denoiser: Denoiser, images: AnyImages, labels: Labels | None, *, timestep: int, seed: int, runtime: Runtime
) -> npt.NDArray[np.float32]:
    """Globally averaged bottleneck of uint8 images (N, C, H, W) noised to VP's level t, (N, D).

    Args:
        labels: (N,) that the network is told; None tells it no class.
        seed: of the noise; image i has a stream of its own.
    """
    sigma = float(VP().sigmas[timestep])
    found = []
    for start in range(0, len(images), BATCH):
        x0 = to_unit(torch.from_numpy(np.array(images[start : start + BATCH])))
        streams = [torch.Generator().manual_seed(derive_seed(seed, "features", start + i)) for i in range(len(x0))]
        noise = torch.stack([torch.randn(x0.shape[1:], generator=stream) for stream in streams])
        told = (
            torch.full((len(x0),), denoiser.null_label)
            if labels is None
            else torch.from_numpy(np.array(labels[start : start + BATCH]))
        )
        with runtime.autocast():
            x = (x0 + sigma * noise).to(runtime.device)
            seen = denoiser(x, torch.full((len(x0),), sigma, device=x.device), told.to(x.device)).features
        found.append(seen.float().mean((2, 3)).cpu().numpy())
    return np.concatenate(found)
