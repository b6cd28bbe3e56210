"""Augmentations of the generator's training images (methods.GENERATOR_AUGMENTATIONS), in batches on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


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


NONE = Augmentation(lambda x0: (x0, None))
