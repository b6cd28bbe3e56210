"""Augmentations of the generator's training images (methods.GENERATOR_AUGMENTATIONS), in batches on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """One way to vary training images."""

    # x0 (B, C, H, W) in [-1, 1] -> varied x0 and the label (B, label_channels) that tells the network how, or None
    apply: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    label_channels: int = 0  # 0 where the network is not told, and so learns to draw varied images
    mirrors: bool = False  # it mirrors images itself, so that --flip need not


NONE = Augmentation(lambda x0: (x0, None))
