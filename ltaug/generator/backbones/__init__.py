"""Networks by name: `backbone(image_shape=..., num_classes=..., augment_channels=..., **sizes)`.

Called as `(x, noise_input, labels, augment) -> (prediction, features)`; `augment` is (B, augment_channels) or None, which
must be the same as zeros. The attribute `feature_channels` is the number of channels of the features (B, D, h, w), and
`classes` an embedding with one row a class, which fine-tuning carries over by the class's name.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from ltaug.errors import OptionError
from ltaug.generator.backbones.unet import UNet
from ltaug.generator.backbones.vit import ViT
from ltaug.options import GeneratorOptions, nearest

BACKBONES: dict[str, type[nn.Module]] = {"unet": UNet, "vit": ViT}


def find_backbone(name: str) -> type[nn.Module]:
    """The network of this name; OptionError where there is none."""
    if name not in BACKBONES:
        raise OptionError(f"--backbone {name!r} is unknown; {nearest(name, BACKBONES)}")
    return BACKBONES[name]


def settings_of(options: GeneratorOptions) -> dict[str, Any]:
    """The keyword arguments of the network options.backbone: dropout, which all have, and its own sizes.

    Raises:
        OptionError: a size of another network is set to anything but one of its defaults.
    """
    settings: dict[str, Any] = {"dropout": options.dropout}
    for f in dataclasses.fields(options):
        owner, value = f.metadata["backbone"], getattr(options, f.name)
        if owner == options.backbone:
            settings[f.name] = value
        elif owner and value not in (f.default, f.metadata.get("small", f.default)):
            flag, shown = f.name.replace("_", "-"), ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise OptionError(
                f"--{flag} {shown} belongs to --backbone {owner}, and the network is {options.backbone!r}; "
                f"leave it out or use --backbone {owner}"
            )
    return settings
