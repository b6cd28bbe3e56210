"""Published weights that a classifier starts from: the file that holds them, its origin, and timm's network with them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ltaug.errors import CorruptError, DataError, OptionError
from ltaug.files import file_digest
from ltaug.hub import from_hub
from ltaug.outside import Outside

HUB = "hub"
SAFETENSORS = "model.safetensors"  # what a folder, or a repository of the hub, calls its weights
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# What the parts of timm's tags say of the images that weights were trained on.
TRAINED_ON = {
    **{"in1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k", "webli": "WebLI"},
    **{"laion2b": "LAION-2B", "laion400m": "LAION-400M", "lvd142m": "LVD-142M", "lvd1689m": "LVD-1689M", "jft": "JFT-300M"},
    **{"datacomp1b": "DataComp-1B", "yfcc100m": "YFCC100M", "yfcc15m": "YFCC15M"},
}
Statistics = Mapping[str, Sequence[float]]  # "mean" and "std" of each channel of images in [0, 1]


class Normalised(nn.Module):
    """A network of timm's interface that takes images in [-1, 1], as all here do, and was pretrained on normalised ones.

    `network` gets (v - mean) / std of v in [0, 1]. Where images have another number of channels than the statistics, each channel
    has their mean.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, statistics: Statistics, *, channels: int) -> None:
        super().__init__()
        self.network, self.statistics = network, statistics
        given = (torch.tensor(statistics[name], dtype=torch.float32) for name in ("mean", "std"))
        mean, std = (one if len(one) == channels else one.mean().expand(channels) for one in given)
        self.register_buffer("scale", (0.5 / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std)[:, None, None], persistent=False)

    def forward_features(self, x: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.network).forward_features(x * self.scale + self.shift))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return cast(Tensor, cast(Any, self.network).forward_head(features, pre_logits=pre_logits))

    def get_classifier(self) -> nn.Module:
        return cast(nn.Module, cast(Any, self.network).get_classifier())

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network(x * self.scale + self.shift))


@dataclass(frozen=True)
class Pretrained:
    """A file of weights for one of timm's networks."""

    path: Path
    digest: str  # SHA-256 of its bytes
    outside: Outside
    statistics: Statistics  # of the images that they were trained on


def weights_file(given: str) -> Path:
    """The file that --pretrained FILE or DIR names.

    Raises:
        DataError: it is not there.
        OptionError: it has another ending than files of weights.
    """
    path = Path(given).expanduser()
    path = path / SAFETENSORS if path.is_dir() else path
    if path.suffix not in SUFFIXES:
        ends = ", ".join(SUFFIXES)
        raise OptionError(f"--pretrained {given} does not end in {ends}; give a file of weights, a folder of one, or {HUB}")
    if not path.is_file():
        raise DataError(f"--pretrained {given}: there is no file {path}; give a file of weights, a folder of one, or {HUB}")
    return path


def find_pretrained(given: str | None, *, model: str, download: bool, tell: Callable[[str], None]) -> Pretrained | None:
    """The weights that --pretrained and --model name, or None.

    Args:
        download: the hub may be asked for what is not in its cache (HF_HOME).
        tell: hears of a download before it begins.

    Raises:
        OptionError: the hub has no weights for this model; see `weights_file`.
        DataError: a file is not there, not to be downloaded, or its download failed.
    """
    if given is None:
        return None
    import huggingface_hub
    import timm

    cfg = timm.models.get_pretrained_cfg(model)
    architecture, tagged, _ = model.partition(".")
    name = model if tagged or given != HUB else f"{architecture}.{cfg.tag}"
    origin: dict[str, str | None] = {}
    if given == HUB:
        if not cfg.hf_hub_id:
            raise OptionError(f"--pretrained {HUB}: timm knows no weights of {model} there; give a file, or another --model")
        file = cfg.hf_hub_filename or SAFETENSORS
        about = f"{file} of https://huggingface.co/{cfg.hf_hub_id} (licence: {cfg.license or 'not stated'})"
        ask, instead = partial(huggingface_hub.hf_hub_download, cfg.hf_hub_id, file), "pass --pretrained with the file"
        path = from_hub(ask, about=lambda: about, instead=instead, download=download, tell=tell)
        origin = {"repository": cfg.hf_hub_id, "revision": path.parent.name}
    else:
        path = weights_file(given)
    if given == HUB or tagged:  # what else a file holds timm does not know
        sets = (TRAINED_ON[part] for part in (cfg.tag or "").split("_") if part in TRAINED_ON)
        origin |= {"licence": cfg.license, "trained_on": ", then ".join(sets) or None}
    digest = file_digest(path)
    outside = Outside(role="classifier", name=name, files={path.name: digest}, **origin)
    return Pretrained(path, digest, outside, {"mean": list(cfg.mean), "std": list(cfg.std)})


def with_weights(fresh: nn.Module, path: Path, *, name: str, make: Callable[..., nn.Module]) -> nn.Module:
    """timm's network `name` with the weights in a file, and with the last layer of `fresh`, which is one such network.

    timm renames old names, fits position embeddings to the size of the images, and adapts the first layer to their channels.

    Args:
        make: `timm.create_model` for this network.

    Raises:
        CorruptError: the file is damaged, or holds more than weights.
        OptionError: it holds the weights of another network.
    """
    found, heads = _read(path), cast(Any, fresh).pretrained_cfg.get("classifier") or ()
    last = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    held = {key: value for key, value in found.items() if not key.startswith(last)}
    own = {key: value for key, value in fresh.state_dict().items() if key.startswith(last)}
    # With as many classes as the file, timm takes all of it or raises; with others it says nothing of what is missing.
    overlay = {"state_dict": held | own, "num_classes": fresh.num_classes, "label_offset": 0, "custom_load": False}
    try:
        network = make(pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[1:2] or [str(error)]
        raise OptionError(
            f"--pretrained {path} does not hold the weights of --model {name} ({reason[0].strip()[:160]}); "
            "give the file of that network, or another --model"
        ) from error
    network.pretrained_cfg = fresh.pretrained_cfg  # without the weights
    return network


def _read(path: Path) -> dict[str, Tensor]:
    import timm

    try:
        found: dict[str, Any] = timm.models.load_state_dict(str(path), weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptError(f"--pretrained {path} cannot be read as weights ({reason[:160]}); give another file") from error
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise CorruptError(f"--pretrained {path} does not hold weights and nothing else; give a file of a network's weights")
    return found
