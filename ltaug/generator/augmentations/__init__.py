"""Augmentations of the generator's training images by name, in batches on the device: `apply(x0) -> (x0, label)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ltaug.generator.augmentations.ada import LABEL_CHANNELS, ada
from ltaug.generator.augmentations.diffaug import diffaug


@dataclass(frozen=True)
class Augmentation:
    """One way to vary training images.

    Attributes:
        apply: x0 (B, C, H, W) in [-1, 1] to varied x0 and the label (B, label_channels) that tells the network how, or None.
        label_channels: 0 where the network is not told, and so learns to draw varied images.
        mirrors: it mirrors images itself, so that --flip need not.
    """

    apply: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    label_channels: int = 0
    mirrors: bool = False


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(lambda x0: (x0, None)),
    "ada": Augmentation(ada, label_channels=LABEL_CHANNELS, mirrors=True),
    "diffaug": Augmentation(lambda x0: (diffaug(x0), None)),
}
