"""Feature extractors: what generated and real images are compared by.

FID, precision, recall and their like are distances between features, so every figure is an extractor's: values from two
extractors cannot be compared. A classifier of the dataset itself is an extractor too; stages wires it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltaug.data.imageset import Images
from ltaug.errors import OptionError
from ltaug.evaluation.weights import Tell, Weights, find_weights
from ltaug.methods import EXTRACTORS
from ltaug.outside import Outside
from ltaug.registry import require_extra
from ltaug.runtime import Runtime

Floats = npt.NDArray[np.float32]
BATCH = 128  # images a forward pass of a published network
PIXELS_SIDE = 32
DINOV2_SIDE = 224  # pixels; what FD-DINOv2 is measured at (Stein et al., NeurIPS 2023), not the 518 of its last training phase


class Seen(NamedTuple):
    """What an extractor sees in N images."""

    features: Floats  # (N, D)
    scores: Floats | None = None  # (N, M), class probabilities for the inception score, or None where it knows no classes
    probabilities: Floats | None = None  # (N, K), of the dataset's own classes, or None where it knows others or none


class Extractor(Protocol):
    """What images are compared by."""

    @property
    def name(self) -> str: ...  # as in --extractor

    @property
    def digest(self) -> str | None: ...  # SHA-256 of its weights; None where it has none

    def look(self, images: Images) -> Seen:
        """Look at uint8 images (N, C, H, W) with C of 1 or 3, each for itself, whatever the batch."""
        ...


@dataclass(frozen=True)
class Pixels:
    """The pixels themselves, 0 to 1; above 32 x 32 averaged down to that. No network, no weights, and no idea of content."""

    name: str = "pixels"
    digest: None = None

    def look(self, images: Images) -> Seen:
        x = torch.from_numpy(np.array(images)).float() / 255
        h, w = x.shape[2:]
        if max(h, w) > PIXELS_SIDE:
            x = F.adaptive_avg_pool2d(x, (min(h, PIXELS_SIDE), min(w, PIXELS_SIDE)))
        return Seen(x.flatten(1).numpy())


@dataclass(frozen=True)
class Inception:
    """Inception-v3 with the weights of 2015-12-05, in which FID and the inception score are defined, by torch-fidelity.

    Features are its last pooling (2,048), scores the softmax of its 1,008 logits without bias (Salimans et al., NeurIPS 2016).
    """

    network: nn.Module
    digest: str
    device: torch.device
    name: str = "inception"

    @classmethod
    def load(cls, path: Path, digest: str, runtime: Runtime) -> Inception:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path))
        return cls(network.to(runtime.device), digest, runtime.device)

    @torch.inference_mode()
    def look(self, images: Images) -> Seen:
        found = [self.network(block) for block in _coloured(images, self.device)]
        features, logits = (torch.cat(part) for part in zip(*found, strict=True))
        return Seen(features.cpu().numpy(), logits.softmax(dim=1).cpu().numpy())


@dataclass(frozen=True)
class Dinov2:
    """DINOv2 ViT-B/14 (Oquab et al., 2023) by timm: the normalised class token, 768 features.

    Images are brought to 224 x 224 (bicubic, antialiased) and normalised as timm's configuration of the weights says.
    """

    network: nn.Module
    digest: str
    device: torch.device
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str = "dinov2"

    @classmethod
    def load(cls, path: Path, digest: str, runtime: Runtime, *, architecture: str = "vit_base_patch14_dinov2.lvd142m") -> Dinov2:
        import timm

        network = timm.create_model(
            architecture,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path)},  # goes before any address, so timm fetches nothing
            img_size=DINOV2_SIDE,
            num_classes=0,
        )
        config = network.pretrained_cfg
        network.eval().requires_grad_(False).to(runtime.device)
        return cls(network, digest, runtime.device, tuple(config["mean"]), tuple(config["std"]))

    @torch.inference_mode()
    def look(self, images: Images) -> Seen:
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        found = []
        for block in _coloured(images, self.device):
            x = F.interpolate(block.float() / 255, size=(DINOV2_SIDE, DINOV2_SIDE), mode="bicubic", antialias=True).clamp(0, 1)
            found.append(self.network((x - mean) / std).float().cpu())
        return Seen(torch.cat(found).numpy())


@dataclass(frozen=True)
class BuiltIn:
    """How an extractor is made."""

    load: Callable[..., Extractor]  # from its weights' file and their digest; from nothing where it has no weights
    weights: Weights | None = None
    module: str | None = None  # what must be installed beyond ltaug itself, by the extra of the extractor's name


# The publishers state no whole digest (torch-fidelity the first eight digits, in the file's name); these are the digests of
# what they serve, as recorded alike by many projects that pin them.
INCEPTION_WEIGHTS = Weights(
    extractor="inception",
    file="weights-inception-2015-12-05-6726825d.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
    licence="apache-2.0",
    trained_on="ImageNet-1k",
)
DINOV2_WEIGHTS = Weights(
    extractor="dinov2",
    file="dinov2_vitb14_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    sha256="0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    size=346_378_731,
    licence="apache-2.0",
    trained_on="LVD-142M",
)
PIXELS = BuiltIn(Pixels)
INCEPTION = BuiltIn(Inception.load, INCEPTION_WEIGHTS, "torch_fidelity")
DINOV2 = BuiltIn(Dinov2.load, DINOV2_WEIGHTS)


def open_extractor(name: str, *, weights: Path | None, folder: Path, download: bool, runtime: Runtime, tell: Tell) -> Extractor:
    """A built-in extractor by name; arguments and errors as for `weights_of`."""
    path, built_in = weights_of(name, weights=weights, folder=folder, download=download, tell=tell), EXTRACTORS.find(name)
    extractor: Extractor = built_in.load() if path is None else built_in.load(path, built_in.weights.sha256, runtime)
    return extractor


def published(name: str) -> list[Outside]:
    """The outside weights of a built-in extractor, if it has any."""
    weights: Weights | None = EXTRACTORS.find(name).weights
    if weights is None:
        return []
    files, known = {weights.file: weights.sha256}, {"licence": weights.licence, "trained_on": weights.trained_on}
    return [Outside(role="extractor", name=name, files=files, **known)]


def weights_of(name: str, *, weights: Path | None, folder: Path, download: bool, tell: Tell) -> Path | None:
    """The file of a built-in extractor's weights; None where it has none.

    Args:
        weights: that file; None looks in `folder`, and downloads it there if `download`.

    Raises:
        OptionError: no such extractor, a package it needs is missing, or `weights` for one that has none.
        DataError, MismatchError, CorruptError: see find_weights.
    """
    built_in: BuiltIn = EXTRACTORS.find(name)
    if built_in.weights is None:
        if weights is not None:
            raise OptionError(f"--weights {weights}: --extractor {name} has no weights; leave it out")
        return None
    if built_in.module is not None:
        require_extra(built_in.module, name, f"--extractor {name}")
    return find_weights(built_in.weights, given=weights, folder=folder, download=download, tell=tell)


def _coloured(images: Images, device: torch.device) -> Iterator[Tensor]:
    """uint8 (B, 3, H, W) on the device, block by block; grey images have three equal channels."""
    for start in range(0, len(images), BATCH):
        block = torch.from_numpy(np.array(images[start : start + BATCH])).to(device)
        yield block.expand(-1, 3, -1, -1) if block.shape[1] == 1 else block
