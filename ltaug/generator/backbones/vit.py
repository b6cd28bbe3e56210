"""A vision transformer on noisy patches, of timm's blocks; what it is told of the image is added to every token."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.errors import OptionError
from ltaug.generator.backbones.unet import timestep_embedding


def position_embedding(height: int, width: int, channels: int) -> Tensor:
    """Sinusoids of the row, then of the column, of every token: (height * width, channels); channels divisible by 4.

    Frequencies go geometrically from pi, where neighbours have opposite signs, to pi / side, half a turn across the image.
    Those of a text's thousands of words hardly tell four rows apart: with them the loss on the digits was a tenth higher.
    """

    def sinusoids(count: int) -> Tensor:
        frequencies = math.pi * float(count) ** -torch.linspace(0, 1, channels // 4)
        angles = torch.arange(count)[:, None] * frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    rows, columns = sinusoids(height)[:, None].expand(-1, width, -1), sinusoids(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


class ViT(nn.Module):
    """A plain transformer over patches, with the embedding of time, class and augmentation added to each.

    Args:
        image_shape: (C, H, W); H and W must be divisible by `patch`.
        augment_channels: as for the U-Net: zeros, or None, are an image as it is.
        patch: side in pixels of the square that is one token.
        depth: number of blocks. The bottleneck's features (B, width, H / patch, W / patch) are the tokens after the
            middle one (after the 5th of 9, the 2nd of 4): what goes in and what comes out are pixels, so that the most
            abstract of a transformer without any bottleneck stands half-way.
        heads: attention heads of each block.
        width: channels of a token.
        dropout: after attention and inside the perceptrons.

    Raises:
        OptionError: patches that do not tile the image, or a width that heads or sinusoids cannot share out evenly.

    Source: the "Diffuse-ViT" of CBDM (Qin et al., CVPR 2023) is that of Yang et al., "Your ViT is Secretly a Hybrid
    Discriminative-Generative Diffusion Model", 2022: depth 9, 12 heads, 384 channels, patches of 4 (CBDM: 2 is better at
    32x32), and a class embedding as in the U-Net.
    """

    TINY: ClassVar[dict[str, Any]] = {"patch": 2, "depth": 3, "heads": 2, "width": 8}

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        augment_channels: int = 0,
        patch: int = 2,
        depth: int = 9,
        heads: int = 12,
        width: int = 384,
        dropout: float = 0.1,
    ) -> None:
        from timm.models.vision_transformer import Block  # takes seconds to import, and most runs need none

        super().__init__()
        image_channels, height, image_width = image_shape
        if height % patch or image_width % patch:
            raise OptionError(
                f"images of {height}x{image_width} cannot be cut into patches of {patch}x{patch}; "
                f"use another --patch or an --image-size divisible by {patch}"
            )
        if width % heads:
            raise OptionError(f"--width {width} cannot be shared out among --heads {heads}; use a multiple of {heads}")
        if width % 4:
            raise OptionError(f"--width {width} is not divisible by 4, as sines and cosines of rows and columns are; change it")
        self.patch, self.width, self.null_label = patch, width, num_classes
        self.rows, self.columns = height // patch, image_width // patch
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Embedding(num_classes, width)
        self.augment = nn.Linear(augment_channels, width, bias=False) if augment_channels else None
        self.stem = nn.Conv2d(image_channels, width, patch, stride=patch)
        self.register_buffer("positions", position_embedding(self.rows, self.columns, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True, proj_drop=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, image_channels * patch**2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.feature_channels = width

    def forward(self, x: Tensor, noise_input: Tensor, labels: Tensor, augment: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(prediction like x, bottleneck features); a label equal to the number of classes means none."""
        known = labels < self.null_label
        of_class = self.classes(labels.clamp_max(self.null_label - 1)) * known[:, None]
        embedding = self.time(timestep_embedding(noise_input, self.width)) + of_class
        if self.augment is not None and augment is not None:
            embedding = embedding + self.augment(augment)
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.positions + embedding[:, None]  # (B, h w, width)
        middle = (len(self.blocks) + 1) // 2
        for block in self.blocks[:middle]:
            tokens = block(tokens)
        features = self._as_map(tokens)
        for block in self.blocks[middle:]:
            tokens = block(tokens)
        return F.pixel_shuffle(self._as_map(self.head(self.norm(tokens))), self.patch), features

    def _as_map(self, tokens: Tensor) -> Tensor:
        """(B, h w, D) tokens as (B, D, h, w)."""
        return tokens.transpose(1, 2).reshape(len(tokens), -1, self.rows, self.columns)
