"""Networks by name: `backbone(image_shape=..., num_classes=..., augment_channels=..., **sizes)`.

Called as `(x, noise_input, labels, augment) -> (prediction, features)`; `augment` is (B, augment_channels) or None, which
must be the same as zeros. The attribute `feature_channels` is the number of channels of the features (B, D, h, w).
"""

from __future__ import annotations

from torch import nn

from ltaug.generator.backbones.unet import UNet

BACKBONES: dict[str, type[nn.Module]] = {"unet": UNet}
