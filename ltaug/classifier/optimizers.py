"""The optimizers of a classifier, and the groups in which they take its parameters (methods.OPTIMIZERS).

A group's learning rate is the schedule's times its `lr_scale`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ltaug.classifier.pretrained import Normalised
from ltaug.fields import settings_of
from ltaug.methods import OPTIMIZERS
from ltaug.options import ClassifierOptions


def sgd(network: nn.Module, *, lr: float, weight_decay: float, layer_decay: float, momentum: float) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; all parameters decay, or with layer decay those that AdamW lets decay."""
    groups = _groups(network, weight_decay=weight_decay, layer_decay=layer_decay, spare=False)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0, fused=True)


def adamw(network: nn.Module, *, lr: float, weight_decay: float, layer_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019); norms, biases and what timm names besides do not decay."""
    groups = _groups(network, weight_decay=weight_decay, layer_decay=layer_decay, spare=True)
    on_gpu = any(p.is_cuda for p in network.parameters())  # where a graph may record its steps
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True, capturable=on_gpu)


def build_optimizer(network: nn.Module, options: ClassifierOptions) -> torch.optim.Optimizer:
    """The optimizer that options.optimizer names, of the parameters of `network` that learn.

    Raises:
        OptionError: an unknown name.
    """
    given = {name: getattr(options, name) for name in ("lr", "weight_decay", "layer_decay")}
    made = OPTIMIZERS.find(options.optimizer)(network, **given, **settings_of(options, "optimizer", options.optimizer))
    return cast(torch.optim.Optimizer, made)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its part of the learning rate; where a captured step reads it from a tensor, in place."""
    for group in optimizer.param_groups:
        own = rate * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def _groups(network: nn.Module, *, weight_decay: float, layer_decay: float, spare: bool) -> list[Any]:
    """Parameters that learn, as an optimizer takes them.

    Args:
        layer_decay: the `lr_scale` of a layer over that of the layer above it (BEiT; Bao et al., ICLR 2022).
        spare: leave parameters of one dimension, and those that the network names, out of the weight decay, as layer decay does.
    """
    if layer_decay == 1 and not spare:
        return [p for p in network.parameters() if p.requires_grad]
    import timm.optim  # takes a second to import

    inner: Any = network.network if isinstance(network, Normalised) else network
    given: dict[str, Any] = {"weight_decay": weight_decay}
    if hasattr(inner, "no_weight_decay"):
        given["no_weight_decay_list"] = inner.no_weight_decay()
    if layer_decay < 1:
        return cast(list[Any], timm.optim.param_groups_layer_decay(inner, **given, layer_decay=layer_decay))
    return cast(list[Any], timm.optim.param_groups_weight_decay(inner, **given))
