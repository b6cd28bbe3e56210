"""Networks by name: `backbone(image_shape=..., num_classes=..., **sizes)(x, noise_input, labels) -> (prediction, features)`."""

from __future__ import annotations

from torch import nn

from ltaug.errors import OptionError
from ltaug.generator.backbones.unet import UNet
from ltaug.recipes import nearest

BACKBONES: dict[str, type[nn.Module]] = {"unet": UNet}


def find_backbone(name: str) -> type[nn.Module]:
    """The network of this name; OptionError where there is none."""
    if name not in BACKBONES:
        raise OptionError(f"--backbone {name!r} is unknown; {nearest(name, BACKBONES)}")
    return BACKBONES[name]
