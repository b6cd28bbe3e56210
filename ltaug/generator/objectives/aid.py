"""AID: clean images expected at low noise are held at the rim of their class, in features of judges."""

from __future__ import annotations

import torch
from torch import Tensor

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives.terms import Batch, Conditioning, Judged


def band_hinge(u: Tensor) -> Tensor:
    """relu(1 - u)^2 + relu(u - 2)^2: 0 for u in 1..2, which `--select-diffult aid` keeps."""
    return (1 - u).relu().square() + (u - 2).relu().square()


class AID:
    """Regulariser towards images approximately in distribution: the aim of DiffuLT's loss (Shao et al., NeurIPS 2024) as a hinge.

    weight (relu(d_y - d)^2 + relu(d - 2 d_y)^2) / d_y^2, where d is the distance of the expected clean image to the centroid of
    its class y in judges' features, and d_y the largest distance between two real images of y (`Judged`). Divided by d_y^2 the
    term does not depend on the scale of features, so a `weight` means the same for every judge.

    It is 0 where sigma is above `below` (the image expected is then a blurred mean), where nothing is known of d_y, and for
    images trained without their label, which belong to no class.

    Args:
        class_counts, feature_channels: not read.
        weight: alpha.
        below: a noise level sigma, relative to x0 in [-1, 1].
    """

    def __init__(
        self, class_counts: Tensor, feature_channels: int = 0, *, judged: Judged, weight: float = 0.1, below: float = 0.5
    ) -> None:
        self.judged, self.weight, self.below = judged, weight, below

    def conditioning(self, batch: Batch) -> None:
        return None

    def __call__(self, own: Denoised, other: Denoised | None, batch: Batch, given: Conditioning | None) -> Tensor:
        width = self.judged.widths[batch.classes]
        counts = (batch.sigma <= self.below) & batch.labelled & width.isfinite()
        # Judges see the whole batch, so that the host need not wait to know how many images count; the others are the real ones.
        x0 = torch.where(counts[:, None, None, None], own.x0, batch.x0.to(own.x0.dtype))
        d = torch.linalg.vector_norm(self.judged.look(x0) - self.judged.centroids[batch.classes], dim=1)
        return self.weight * torch.where(counts, band_hinge(d / width), 0.0)
