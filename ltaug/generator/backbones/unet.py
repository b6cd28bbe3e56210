"""The DDPM U-Net, sized by options: at its paper setting 35.8 M parameters, at 16 channels a few ten thousand."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.errors import OptionError
from ltaug.fields import shown


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """Sinusoids of t (B,) -> (B, channels), frequencies from 1 to 1/10000 (Vaswani et al. 2017, Ho et al. 2020)."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups of at least 4 channels; fewer where these do not come out even."""
    most = min(32, max(1, channels // 4))
    return nn.GroupNorm(next(groups for groups in range(most, 0, -1) if channels % groups == 0), channels)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q, k and v, each (B, HW, C)."""
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


class Attention(nn.Module):
    """Single-head self-attention over positions, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = _zero(nn.Conv2d(channels, channels, 1))
        self.attend = one_head

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)  # each (B, HW, C)
        attended = self.attend(q, k, v)
        out: Tensor = self.project(attended.transpose(1, 2).reshape(b, c, h, w))
        return x + out


class ResidualBlock(nn.Module):
    """Two convolutions with the embedding added between them; optional attention behind."""

    def __init__(self, channels_in: int, channels: int, embedding: int, *, dropout: float, attention: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(channels_in), nn.Conv2d(channels_in, channels, 3, padding=1)
        self.embed = nn.Linear(embedding, channels)
        self.norm2, self.conv2 = _norm(channels), _zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        self.attention = Attention(channels) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.embed(embedding)[:, :, None, None]
        h = self.dropout(F.silu(self.norm2(h)))
        out: Tensor = self.attention(self.skip(x) + self.conv2(h))
        return out


class Enlarge(nn.Sequential):
    """Twice the height and width, by repeating pixels and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(channels, channels, 3, padding=1))

    @property
    def conv(self) -> nn.Conv2d:
        conv = self[1]
        assert isinstance(conv, nn.Conv2d)
        return conv


class UNet(nn.Module):
    """The U-Net of DDPM with a class embedding added to the time embedding.

    Args:
        image_shape: (C, H, W); H and W must be divisible by 2 ** (len(channel_mults) - 1).
        channel_mults: channels of each resolution over `channels`, finest first.
        augment_channels: length of the label that says how training images were varied; it is added to the embedding by a
            linear map without bias, so that zeros, or None, are an image as it is.
        attention: image sides (of the larger of H and W) at which residual blocks end in self-attention.

    Raises:
        OptionError: an odd number of channels, a multiple below 1, or an image that cannot be halved that often.

    Source: Ho et al., NeurIPS 2020, appendix B; class embedding as in CBDM (Qin et al., CVPR 2023).
    """

    TINY: ClassVar[dict[str, Any]] = {"channels": 8, "channel_mults": (1, 2), "blocks": 1, "attention": (4,)}

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        augment_channels: int = 0,
        channels: int = 128,
        channel_mults: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int, ...] = (16,),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        image_channels, height, width = image_shape
        if channels % 2:
            raise OptionError(f"--channels {channels} is odd; half are sines of the time, half cosines: use an even number")
        if not channel_mults or min(channel_mults) < 1:
            raise OptionError(
                f"--channel-mults {shown(channel_mults)} needs a multiple of at least 1 a resolution, such as 1,2,2,2"
            )
        halvings = len(channel_mults) - 1
        if height % 2**halvings or width % 2**halvings:
            raise OptionError(
                f"images of {height}x{width} cannot be halved {halvings} times; "
                f"use fewer --channel-mults or an --image-size divisible by {2**halvings}"
            )
        self.channels, self.null_label = channels, num_classes
        embedding = 4 * channels
        self.time = nn.Sequential(nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.classes = nn.Embedding(num_classes, embedding)
        self.augment = nn.Linear(augment_channels, embedding, bias=False) if augment_channels else None
        side, width_now = max(height, width), channels
        block = partial(ResidualBlock, embedding=embedding, dropout=dropout)
        self.stem = nn.Conv2d(image_channels, channels, 3, padding=1)
        self.down = nn.ModuleList()
        skips = [channels]
        for level, mult in enumerate(channel_mults):
            for _ in range(blocks):
                self.down.append(block(width_now, channels * mult, attention=side in attention))
                width_now = channels * mult
                skips.append(width_now)
            if level < halvings:
                self.down.append(nn.Conv2d(width_now, width_now, 3, stride=2, padding=1))
                skips.append(width_now)
                side //= 2
        self.feature_channels = width_now
        self.middle = nn.ModuleList([block(width_now, width_now, attention=attends) for attends in (True, False)])
        self.up = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mults))):
            for _ in range(blocks + 1):
                self.up.append(block(width_now + skips.pop(), channels * mult, attention=side in attention))
                width_now = channels * mult
            if level:
                self.up.append(Enlarge(width_now))
                side *= 2
        self.head = nn.Sequential(_norm(width_now), nn.SiLU(), _zero(nn.Conv2d(width_now, image_channels, 3, padding=1)))

    def forward(self, x: Tensor, noise_input: Tensor, labels: Tensor, augment: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(prediction like x, bottleneck features); a label equal to the number of classes means none."""
        known = labels < self.null_label
        of_class = self.classes(labels.clamp_max(self.null_label - 1)) * known[:, None]
        embedding = self.time(timestep_embedding(noise_input, self.channels)) + of_class
        if self.augment is not None and augment is not None:
            embedding = embedding + self.augment(augment)
        embedding = F.silu(embedding)
        h = self.stem(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embedding)
        features = h
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), embedding) if isinstance(layer, ResidualBlock) else layer(h)
        return self.head(h), features
