"""Networks by name: `backbone(image_shape=..., num_classes=..., augment_channels=..., **sizes)`.

Called as `(x, noise_input, labels, augment) -> (prediction, features)`; `augment` is (B, augment_channels) or None, which
must be the same as zeros. The attribute `feature_channels` is the number of channels of the features (B, D, h, w).
"""

from __future__ import annotations

from torch import nn

from ltaug.errors import OptionError
from ltaug.generator.backbones.unet import UNet
from ltaug.options import nearest

BACKBONES: dict[str, type[nn.Module]] = {"unet": UNet}


def find_backbone(name: str) -> type[nn.Module]:
    """The network of this name; OptionError where there is none."""
    if name not in BACKBONES:
        raise OptionError(f"--backbone {name!r} is unknown; {nearest(name, BACKBONES)}")
    return BACKBONES[name]
