"""The denoiser contract: every network, whatever its preconditioning, as x0 and eps in sigma space.

Everything here has x = x0 + sigma * eps with x0 of the denoiser's space: pixels in [-1, 1], or latents. A backbone only sees what
its preconditioning hands it, so an objective or a sampler works with any pair of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ltaug.generator.space import PIXELS, Space


class Preconditioning(Protocol):
    """What a noise level means: the training draw, the loss weight, the network's scalings, the sampling grid."""

    def draw(self, count: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
        """`count` training noise levels from the global random stream: sigma (B,), relative to x0, and t/T (B,) in [0, 1].

        The fraction t/T of the diffusion is what objectives weight by.
        """

    def loss_weight(self, sigma: Tensor) -> Tensor:
        """(B,) weight of the squared error of eps."""

    def fraction(self, sigma: Tensor) -> Tensor:
        """(B,) t/T in [0, 1) of these noise levels, as in `draw`."""

    def level(self, fraction: float) -> float:
        """The noise level at this t/T in (0, 1), as far as sampling goes."""

    def inputs(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The network's image input (B, C, H, W) and noise-embedding input (B,)."""

    def outputs(self, x: Tensor, sigma: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """(x0, eps) from the network's prediction."""

    def grid(self, steps: int) -> Tensor:
        """(steps + 1,) decreasing float64 noise levels for sampling, the last one 0."""

    def prior_scale(self) -> float:
        """Standard deviation of x at the first level of the grid, where sampling starts."""


@dataclass(frozen=True)
class Denoised:
    """What a denoiser says of a noisy batch."""

    x0: Tensor  # (B, C, H, W), the clean image expected
    eps: Tensor  # (B, C, H, W), the noise expected; x0 = x - sigma * eps
    features: Tensor  # (B, D, h, w), the backbone's bottleneck


class Denoiser(nn.Module):
    """A backbone under a preconditioning.

    `labels` are class indices (B,); `null_label` (= num_classes) means no class, for guidance. `feature_channels` is D of
    the bottleneck's features, which the backbone says of itself by an attribute of that name.
    """

    def __init__(self, backbone: nn.Module, preconditioning: Preconditioning, *, num_classes: int, space: Space = PIXELS) -> None:
        super().__init__()
        self.backbone = backbone
        self.space = space
        self.preconditioning = preconditioning
        self.null_label = num_classes
        assert isinstance(backbone.feature_channels, int)
        self.feature_channels = backbone.feature_channels

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor, augment: Tensor | None = None) -> Denoised:
        """Denoise x (B, C, H, W) at sigma (B,) under labels (B,).

        `augment` (B, augment_channels) says how the images were varied; None, as at sampling, is not at all.
        """
        image, noise_input = self.preconditioning.inputs(x, sigma)
        prediction, features = self.backbone(image, noise_input, labels, augment)
        x0, eps = self.preconditioning.outputs(x, sigma, prediction.float())
        return Denoised(x0, eps, features)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) shaped to broadcast over `like` (B, C, H, W)."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
