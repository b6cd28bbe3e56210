"""Layers in other forms that a CPU computes faster in bfloat16; the same mathematics, with other rounding.

Together they take an eighth off a step of the papers' U-Net at 32x32 (benchmarks/RESULTS.md). float32 keeps torch's own forms
throughout, and with them its results bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.generator.backbones.unet import Attention, Enlarge, one_head
from ltaug.runtime import Runtime, keep_freed_memory


def suit(network: nn.Module, runtime: Runtime) -> None:
    """Bring a backbone into the form that this runtime computes: compiled, or in the forms below; its weights stay."""
    if runtime.device.type == "cpu" and not runtime.plain:
        keep_freed_memory()
        if runtime.amp_dtype is not None and not runtime.compiled:
            use_cpu_forms(network)
    if runtime.compiled:
        network.compile()


def use_cpu_forms(network: nn.Module) -> None:
    """Let the layers of a network compute in these forms; their weights and names stay as they are."""
    layer: Any
    for layer in network.modules():
        if type(layer) in FORMS:
            layer.forward = partial(FORMS[type(layer)], layer)
        elif isinstance(layer, Attention):
            layer.attend = attend


def enlarge(layer: Enlarge, x: Tensor) -> Tensor:
    """Doubling the sides and a 3x3 convolution as one transposed 4x4 convolution of stride 2: 2.25 times fewer products.

    Of the nine weights, those that meet the same small pixel are added up beforehand.
    """
    small = _met_by_small_pixels(_met_by_small_pixels(layer.conv.weight, 2), 3).transpose(0, 1)
    return F.conv_transpose2d(x, small.contiguous(memory_format=torch.channels_last), layer.conv.bias, stride=2, padding=1)


def _met_by_small_pixels(weight: Tensor, dim: int) -> Tensor:
    """Weights a, b, c as four: even places of the large image are a x[i-1] + (b + c) x[i], odd ones (a + b) x[i] + c x[i+1]."""
    a, b, c = weight.unbind(dim)
    return torch.stack([c, b + c, a + b, a], dim)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as two products, which is faster for one wide head; not where its weights would be more than q, k and v."""
    if q.shape[1] > q.shape[2]:
        return one_head(q, k, v)
    weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1, dtype=torch.float32)
    return weights.to(v.dtype) @ v


def dropout(layer: nn.Dropout, x: Tensor) -> Tensor:
    """Dropout with four coins from each random number, p rounded to 1/65536; torch draws a number a coin, on one core."""
    if not layer.training or layer.p == 0:
        return x
    numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    coins = numbers.view(torch.int16)[: x.numel()].as_strided(x.shape, torch.empty_like(x).stride())
    kept = (coins >= round(layer.p * 2**16) - 2**15).to(x.dtype)
    return x * kept.mul_(1 / (1 - layer.p))


def group_norm(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation whose way back is in float32: in bfloat16 and channels_last torch's takes twice as long."""
    normed: Tensor = _GroupNorm.apply(x, layer.weight, layer.bias, layer.num_groups, layer.eps)
    return normed


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        out, mean, rstd = torch.native_group_norm(x, weight, bias, *_sizes(x), groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        grad = grads[0]
        both = torch.ops.aten.native_group_norm_backward(
            grad.float(), x.float(), mean.float(), rstd.float(), weight.float(), *_sizes(x), ctx.groups, [True, True, True]
        )
        return both[0].to(x.dtype), both[1].to(weight.dtype), both[2].to(weight.dtype), None, None


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x[0, 0].numel()


FORMS: dict[type[nn.Module], Callable[..., Tensor]] = {nn.GroupNorm: group_norm, nn.Dropout: dropout, Enlarge: enlarge}
