"""Where a generator's images live: as pixels, or as the latents of a published autoencoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from ltaug.data.cache import derived
from ltaug.data.imageset import AnyImages, ImageSet
from ltaug.errors import MismatchError, OptionError

Shape = tuple[int, int, int]
CODED = 8  # images that are encoded at a time; they are decoded one by one, as their place in a batch may round otherwise


class Space(Protocol):
    """What x0 is of an image; `bounded` where it lies in [-1, 1]."""

    bounded: ClassVar[bool]

    def shape_of(self, image_shape: Shape) -> Shape:
        """(C, H, W) of x0 for images of this shape; raises OptionError or MismatchError for images it cannot take."""

    def stored(self, train: ImageSet, *, mirror: bool, device: torch.device, tell: Callable[[str], None]) -> AnyImages:
        """What a feed reads of a training set: an array with a row an image, from which `x0` takes batches."""

    def x0(self, stored: Tensor, mirrored: Tensor | None) -> Tensor:
        """float32 (B, C, H, W) from rows of `stored`; those are mirrored where `mirrored`, bool (B,), says so."""

    def encode(self, images: Tensor) -> Tensor:
        """The expected x0 of uint8 images, on their device."""

    def decode(self, x0: Tensor) -> Tensor:
        """Images in about [-1, 1], through which gradients flow."""


class Pixels:
    """x0 is the image itself."""

    bounded: ClassVar[bool] = True

    def shape_of(self, image_shape: Shape) -> Shape:
        return image_shape

    def stored(self, train: ImageSet, *, mirror: bool, device: torch.device, tell: Callable[[str], None]) -> AnyImages:
        return train.images

    def x0(self, stored: Tensor, mirrored: Tensor | None) -> Tensor:
        x0 = self.encode(stored)
        return x0 if mirrored is None else torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)

    def encode(self, images: Tensor) -> Tensor:
        return images.float().div_(127.5).sub_(1)

    def decode(self, x0: Tensor) -> Tensor:
        return x0


PIXELS = Pixels()


@dataclass(frozen=True, eq=False)
class Latents:
    """x0 is what an autoencoder of diffusers makes of the image, shifted and scaled to about unit variance.

    The autoencoder is frozen: it is neither trained nor averaged nor saved, and copies of a network share it.
    """

    autoencoder: nn.Module  # AutoencoderKL or AutoencoderTiny, in evaluation mode
    digest: str  # SHA-256 of its files
    channels: int  # of the images: as many as it takes, or 1
    bounded: ClassVar[bool] = False

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Latents:
        return self

    @property
    def config(self) -> Any:
        return cast(Any, self.autoencoder).config

    @property
    def factor(self) -> int:
        """Sides in pixels over sides of the latents."""
        blocks = self.config.get("block_out_channels") or self.config.encoder_block_out_channels
        return int(2 ** (len(blocks) - 1))

    def shape_of(self, image_shape: Shape) -> Shape:
        _, height, width = image_shape
        if self.channels not in (1, self.config.in_channels):
            given = f"the autoencoder takes images of {self.config.in_channels} channels, the dataset has {self.channels}"
            raise MismatchError(f"{given}; give another autoencoder")
        if height % self.factor or width % self.factor:
            side = max(1, round(height / self.factor)) * self.factor
            raise OptionError(
                f"images of {height}x{width} pixels cannot be reduced {self.factor} times, as the autoencoder does; "
                f"give --image-size {side}"
            )
        return int(self.config.latent_channels), height // self.factor, width // self.factor

    def stored(self, train: ImageSet, *, mirror: bool, device: torch.device, tell: Callable[[str], None]) -> AnyImages:
        """Mean and standard deviation of each image's latents, float16 (N, V, M, h, w); with `mirror` also of its mirror image.

        They are made once, in the cache; float16 rounds them by less than a thousandth of their standard deviation.
        """
        key = hashlib.sha256(repr(("latents", train.digest, self.digest, mirror)).encode()).hexdigest()

        def make(write: Callable[[tuple[int, ...], Any], Any]) -> None:
            tell(f"Encoding {len(train)} images into latents, once for all fits to them.")
            out = write((len(train), 1 + mirror, *self._moments(train.images[:1], device).shape[1:]), np.float16)
            for start in range(0, len(train), CODED):
                images = np.asarray(train.images[start : start + CODED])
                for view in range(1 + mirror):
                    seen = images[..., ::-1] if view else images
                    out[start : start + CODED, view] = self._moments(seen, device).cpu().numpy()

        return cast(AnyImages, derived("latents", key, make))

    def x0(self, stored: Tensor, mirrored: Tensor | None) -> Tensor:
        """A draw from each image's latents."""
        rows = torch.arange(len(stored), device=stored.device)
        moments = (stored[:, 0] if mirrored is None else stored[rows, mirrored.long()]).float()
        channels = self.config.latent_channels
        mean, std = moments[:, :channels], moments[:, channels:]
        return self._scaled(mean + std * torch.randn_like(mean) if std.shape[1] else mean)

    def encode(self, images: Tensor) -> Tensor:
        moments = self._moments(images.cpu().numpy(), images.device)
        return self._scaled(moments[:, : self.config.latent_channels])

    def decode(self, x0: Tensor) -> Tensor:
        latents = x0.float() / self.config.scaling_factor + (self.config.get("shift_factor") or 0)
        network = cast(Any, self.autoencoder.to(x0.device))
        with torch.autocast(x0.device.type, enabled=False):
            images = torch.cat([network.decode(one, return_dict=False)[0] for one in torch.split(latents, 1)])
        return images if images.shape[1] == self.channels else images.mean(1, keepdim=True)

    def _scaled(self, latents: Tensor) -> Tensor:
        return (latents - (self.config.get("shift_factor") or 0)) * float(self.config.scaling_factor)

    @torch.no_grad()
    def _moments(self, images: Any, device: torch.device) -> Tensor:
        """Mean, and standard deviation where the autoencoder has one, of uint8 images (B, C, H, W): (B, M, h, w)."""
        x = PIXELS.encode(torch.from_numpy(np.ascontiguousarray(images)).to(device)).expand(-1, self.config.in_channels, -1, -1)
        network = cast(Any, self.autoencoder.to(device))
        found = []
        for part in torch.split(x, CODED):
            with torch.autocast(device.type, enabled=False):
                coded = network.encode(part)
            one = coded.latents if hasattr(coded, "latents") else torch.cat([coded.latent_dist.mean, coded.latent_dist.std], 1)
            found.append(one)
        return torch.cat(found).float()


def to_pixels(images: Tensor) -> Tensor:
    """Images in -1..1 as uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
