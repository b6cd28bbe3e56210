"""What of a published network learns: methods of fine-tuning by name."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from ltaug.errors import OptionError
from ltaug.registry import require_extra

LORA = re.compile(r"lora:([1-9]\d{0,3})")
NORMS = (nn.GroupNorm, nn.LayerNorm)
# The last layer of each residual branch, whose outputs DiffFit scales, and what LoRA adapts.
BRANCH_ENDS = re.compile(r"(.*\.)?(to_out\.0|ff\.net\.2|conv2)")
ADAPTED = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
SCALE = "difffit_scale"


def check_tune(given: str) -> None:
    """Raise OptionError unless this is lora:R."""
    if not LORA.fullmatch(given):
        raise OptionError(f"--tune {given!r} is not difffit, full or lora:RANK such as lora:16")


def tune(network: nn.Module, how: str) -> nn.Module:
    """Freeze what does not learn, and add what only learns.

    difffit: biases and norms, and a new factor on each residual branch (DiffFit; Xie et al., ICCV 2023).
    lora:R: new products of rank R beside the layers of attention and of feed-forward parts (LoRA; Hu et al., ICLR 2022).
    full: everything.

    Raises:
        OptionError: lora without peft.
    """
    if how == "full":
        return network.requires_grad_(True)
    network.requires_grad_(False)
    if found := LORA.fullmatch(how):
        return _adapted(network, int(found[1]))
    for name, module in network.named_modules():
        if isinstance(module, NORMS):
            module.requires_grad_(True)
        elif isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            bias.requires_grad_(True)
        if BRANCH_ENDS.fullmatch(name):
            size = int(getattr(module, "out_channels", None) or module.out_features)
            module.register_parameter(SCALE, nn.Parameter(torch.ones(size)))
            module.register_forward_hook(_scaled)
    return network


def merged(network: nn.Module) -> nn.Module:
    """The network as its publisher's code has it: what was added is multiplied in. Converts it in place."""
    for module in network.modules():
        if isinstance(scale := getattr(module, SCALE, None), nn.Parameter):
            _scale_in(module, scale)
        if hasattr(module, "merge") and hasattr(module, "base_layer"):
            module.merge()  # type: ignore[operator]
    return network


def plain_key(key: str) -> str | None:
    """What a merged network's parameter is called without what was added; None for what was added itself."""
    return None if SCALE in key or "lora_" in key else key.replace(".base_layer", "")


def frozen(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that do not learn, by name."""
    return {name: value.detach() for name, value in module.named_parameters() if not value.requires_grad}


def _scaled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    scale: Tensor = getattr(module, SCALE)
    return output * (scale if output.ndim == 3 else scale[:, None, None])


@torch.no_grad()
def _scale_in(module: nn.Module, scale: Tensor) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    weight.mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
    if isinstance(bias, Tensor):
        bias.mul_(scale)
    scale.fill_(1)


def _adapted(network: nn.Module, rank: int) -> nn.Module:
    require_extra("peft", "diffusers", f"--tune lora:{rank}")
    from peft import LoraConfig, inject_adapter_in_model

    adapted: nn.Module = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED), network)
    return adapted
