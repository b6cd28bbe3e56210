"""The networks that recognise images: CIFAR ResNets, and any timm model by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.classifier.contrastive import VMFHead
from ltaug.classifier.pretrained import Normalised, Statistics, with_weights
from ltaug.errors import OptionError, nearest
from ltaug.methods import MODELS

LAST_STAGES = ("layer4", "stages", "blocks")  # what timm's networks call their last stage, or the list that ends with it
COSINE_SCALE = 30.0


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (He et al., CVPR 2016, section 4.2, option A)."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.missing = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.missing or self.stride > 1:
            shortcut = x[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))
        h = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(h)).add_(shortcut), inplace=True)


class CifarResNet(nn.Module):
    """The CIFAR form of ResNet (He et al., CVPR 2016, section 4.2): 3x3 stem, then 16, 32 and 64 channels.

    It has timm's interface: `forward_features` returns the last feature map (B, 64, H/4, W/4); `forward_head` pools it
    and, unless `pre_logits`, classifies it with the layer that `get_classifier` returns.
    """

    def __init__(self, *, blocks: int, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        stages: list[nn.Module] = []
        channels_in = 16
        for channels in (16, 32, 64):
            for i in range(blocks):
                stride = 2 if i == 0 and channels > 16 else 1
                stages.append(ResidualBlock(channels_in, channels, stride=stride))
                channels_in = channels
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.stages(F.relu(self.norm(self.conv(x)), inplace=True)))

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = features.mean((2, 3))
        return pooled if pre_logits else cast(Tensor, self.fc(pooled))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


resnet8, resnet20, resnet32, resnet44, resnet56 = (partial(CifarResNet, blocks=blocks) for blocks in (1, 3, 5, 7, 9))


class CosineHead(nn.Module):
    """Logits that are COSINE_SCALE times the cosine between features and each class's weights (Cao et al., NeurIPS 2019).

    It computes in float32: in bfloat16 a logit near 30 would be off by up to a sixteenth.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return COSINE_SCALE * F.linear(F.normalize(x.float(), dim=1), F.normalize(self.weight, dim=1))


# The last layer that a loss asks for (methods.LOSSES): factory(features, classes) -> nn.Module; "linear" is the network's own.
HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineHead, "vmf": VMFHead}


def head_of(model: nn.Module, *, name: str) -> nn.Linear:
    """The last layer of a network that is called `name`.

    Raises:
        OptionError: it is not linear.
    """
    head = cast(Any, model).get_classifier()
    if not isinstance(head, nn.Linear):
        raise OptionError(
            f"--model {name} ends in {type(head).__name__}, not in a linear layer; "
            "use another --model, or none of --loss ldam, --loss proco, --tau-norm and --freeze body"
        )
    return head


def normalise_head(head: nn.Linear, *, tau: float) -> None:
    """Divide each class's weights by their norm to the power tau and drop the bias (Kang et al., ICLR 2020, section 4.2).

    The weights are then scaled back to their mean norm, which changes no decision and keeps probabilities as sharp as they were.
    """
    with torch.no_grad():
        norms = head.weight.norm(dim=1, keepdim=True)
        divided = head.weight / norms.clamp_min(1e-12) ** tau
        head.weight.copy_(divided * norms.mean() / divided.norm(dim=1).mean())
        if head.bias is not None:
            head.bias.zero_()


def build_model(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    head: str = "linear",
    drop_path: float = 0.0,
    weights: Path | None = None,
    statistics: Statistics | None = None,
) -> nn.Module:
    """A freshly initialised network (from torch's global seed) that maps (B, C, H, W) in [-1, 1] to (B, K) logits.

    Args:
        name: a key of MODELS, or a timm model's name.
        image_shape: (C, H, W).
        head: a key of HEADS, the last layer.
        drop_path: the rate at which a timm model leaves out its deepest residual block in training (Huang et al., ECCV 2016).
        weights: a file of the timm model's weights, for all but the last layer; nothing is downloaded.
        statistics: of the images that the timm model was pretrained on.

    Raises:
        OptionError: neither MODELS nor timm has the name, or the timm model cannot take images of this size, that head, that
            drop path or these weights.
        CorruptError: the weights are damaged.
    """
    if name in MODELS:
        model: nn.Module = MODELS[name](num_classes=num_classes, in_chans=image_shape[0])
    else:
        model = _timm_model(name, num_classes=num_classes, image_shape=image_shape, drop_path=drop_path, weights=weights)
    if statistics is not None:
        model = Normalised(model, statistics, channels=image_shape[0])
    if head != "linear":
        own = head_of(model, name=name)
        (place,) = (path for path, module in model.named_modules() if module is own)
        model.set_submodule(place, HEADS[head](own.in_features, own.out_features))
    # On a CPU core, at 8 and 32 pixels, a step takes 13 to 20 % less time than with channels first.
    return model.to(memory_format=torch.channels_last)


def require_timm(name: str) -> None:
    """Raise OptionError, with the nearest name, unless timm has a model of this name."""
    import timm  # takes seconds to import, and few runs need it

    if not timm.is_model(name):
        hint = nearest(name, [*MODELS, *timm.list_models()])
        if hint.startswith("there are"):
            hint = f"there are {', '.join(MODELS)} and timm's models, such as resnet18 or vit_tiny_patch16_224"
        raise OptionError(f"--model {name!r} is unknown; {hint}")


def _timm_model(
    name: str, *, num_classes: int, image_shape: tuple[int, int, int], drop_path: float, weights: Path | None
) -> nn.Module:
    import timm

    require_timm(name)
    channels, height, width = image_shape
    told: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}  # not every network knows it
    cfg = timm.models.get_pretrained_cfg(name)
    if cfg is not None and cfg.fixed_input_size:
        told["img_size"] = (height, width)
    make = partial(timm.create_model, name, num_classes=num_classes, in_chans=channels, **told)
    try:
        model: nn.Module = make(pretrained=False)
        with torch.no_grad():
            model.eval()(torch.zeros(2, channels, height, width))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        if "drop_path_rate" in str(error):
            raise OptionError(f"--drop-path {drop_path:g}: --model {name} has none; use --drop-path 0") from error
        raise OptionError(
            f"--model {name}: timm's model cannot take images of {channels}x{height}x{width} ({str(error).splitlines()[0]}); "
            "give a larger --image-size or another --model"
        ) from error
    return (model if weights is None else with_weights(model, weights, name=name, make=make)).train()


def penultimate(model: nn.Module, x: Tensor) -> Tensor:
    """The input of the last layer of `model` for a batch, (B, D)."""
    network = cast(Any, model)
    return cast(Tensor, network.forward_head(network.forward_features(x), pre_logits=True))


def part_of(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules of `model` that a second stage may train under a name in --refit: "head" is the last layer, "last" all from the
    last stage on, "all" the network.

    Raises:
        OptionError: the last stage of a network that names neither layer4 nor stages nor blocks, as timm's do.
    """
    if name == "all":
        return [model]
    if isinstance(model, Normalised):
        return part_of(model.network, name)
    head = cast(nn.Module, cast(Any, model).get_classifier())
    if name == "head":
        return [head]
    if isinstance(model, CifarResNet):
        return [model.stages[-len(model.stages) // 3 :], head]
    children = list(model.named_children())
    place = next((i for i, (child, _) in reversed(list(enumerate(children))) if child in LAST_STAGES), None)
    if place is None:
        names = " or ".join(LAST_STAGES)
        raise OptionError(
            f"--refit {name}: {type(model).__name__} has no {names} that could be its last stage; "
            "use --refit head or another --model"
        )
    called, stage = children[place]
    last = stage if called == "layer4" else cast(nn.Sequential, stage)[-1]
    return [last, *(child for _, child in children[place + 1 :])]
