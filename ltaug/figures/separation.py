"""A generator's features of real images, and how far classes keep apart in them: purity of the neighbours, silhouette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import silhouette_samples

from ltaug.data.imageset import AnyImages, Labels
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.preconditioning import VP
from ltaug.metrics.distances import frame_of, nearest
from ltaug.runtime import Runtime, derive_seed

Floats = npt.NDArray[np.float32]
MEASURES = ("purity", "silhouette")
BATCH = 256


@torch.inference_mode()
def bottleneck(
    denoiser: Denoiser, images: AnyImages, labels: Labels | None, *, timestep: int, seed: int, runtime: Runtime
) -> Floats:
    """Globally averaged bottleneck of uint8 images (N, C, H, W) noised to VP's level t, (N, D).

    Args:
        labels: (N,) that the network is told; None tells it no class.
        seed: of the noise; image i has a stream of its own.
    """
    sigma = float(VP().sigmas[timestep])
    found = []
    for start in range(0, len(images), BATCH):
        x0 = denoiser.space.encode(torch.from_numpy(np.array(images[start : start + BATCH])).to(runtime.device))
        streams = [torch.Generator().manual_seed(derive_seed(seed, "features", start + i)) for i in range(len(x0))]
        noise = torch.stack([torch.randn(x0.shape[1:], generator=stream) for stream in streams])
        told = (
            torch.full((len(x0),), denoiser.null_label)
            if labels is None
            else torch.from_numpy(np.array(labels[start : start + BATCH]))
        )
        with runtime.autocast():
            x = x0 + sigma * noise.to(runtime.device)
            seen = denoiser(x, torch.full((len(x0),), sigma, device=x.device), told.to(x.device)).features
        found.append(seen.float().mean((2, 3)).cpu().numpy())
    return np.concatenate(found)


@dataclass(frozen=True)
class Separation:
    """Both measures, each a mean over classes of a class's mean, so that a large class counts no more than a small one.

    Attributes:
        overall: measure -> value over all classes; None where no class can be measured.
        groups: group -> measure -> value over the group's classes.
        classes: measure -> one value per class; None for a class of fewer than two images.
    """

    overall: Mapping[str, float | None]
    groups: Mapping[str, Mapping[str, float | None]]
    classes: Mapping[str, Sequence[float | None]]


def purity(features: Floats, labels: Labels, *, neighbours: int = 10) -> npt.NDArray[np.float64]:
    """Share of an image's own class among its nearest others (leave-one-out, Euclidean), (N,).

    An image of a class of n looks at its min(neighbours, n - 1) nearest others, so that 1 is within reach of every class.
    NaN for an image that is alone in its class. Of others equally near those with the lower index come first.
    """
    counts = np.bincount(labels)
    looked_at = np.minimum(neighbours, counts[labels] - 1)
    if looked_at.max(initial=0) == 0:
        return np.full(len(labels), np.nan)
    cloud = frame_of(features).place(features)
    index, _ = nearest(cloud, cloud, int(looked_at.max()), but=np.arange(len(cloud.values)))
    same = np.cumsum(labels[index] == labels[:, None], axis=1)
    shares = same[np.arange(len(labels)), np.maximum(looked_at, 1) - 1] / np.maximum(looked_at, 1)
    return np.asarray(np.where(looked_at > 0, shares, np.nan))


def silhouette(features: Floats, labels: Labels) -> npt.NDArray[np.float64]:
    """(b - a) / max(a, b) of every image (Rousseeuw, 1987), (N,); NaN for an image that is alone in its class, or without
    another class to compare with.
    """
    counts = np.bincount(labels)
    found = np.full(len(labels), np.nan)
    if (counts > 0).sum() < 2 or len(labels) == (counts > 0).sum():
        return found
    company = counts[labels] > 1
    found[company] = silhouette_samples(features.astype(np.float64), labels)[company]
    return found


def separation(
    features: Floats, labels: Labels, *, num_classes: int, groups: Mapping[str, Sequence[int]], neighbours: int = 10
) -> Separation:
    """Both measures overall, by group and by class.

    Args:
        features: (N, D).
        labels: (N,).
        groups: group name -> class indices.
    """
    values = {"purity": purity(features, labels, neighbours=neighbours), "silhouette": silhouette(features, labels)}
    classes = {m: [_mean(v[labels == c]) for c in range(num_classes)] for m, v in values.items()}

    def over(members: Sequence[int]) -> dict[str, float | None]:
        return {m: _mean(np.array([classes[m][c] for c in members], np.float64)) for m in MEASURES}

    return Separation(over(range(num_classes)), {g: over(members) for g, members in groups.items()}, classes)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Of what is not NaN; None of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
