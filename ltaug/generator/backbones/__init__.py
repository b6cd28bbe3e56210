"""Networks by name: `backbone(image_shape=..., num_classes=..., **sizes)(x, noise_input, labels) -> (prediction, features)`.

A network's attribute `feature_channels` is the number of channels of its features (B, D, h, w).
"""

from __future__ import annotations

from torch import nn

from ltaug.generator.backbones.unet import UNet

BACKBONES: dict[str, type[nn.Module]] = {"unet": UNet}
