"""Sharpness-aware minimisation: the gradient is taken where the loss near the weights is highest (Foret et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltaug.classifier.contrastive import VMFHead


@contextmanager
def uphill(network: nn.Module, rho: float) -> Iterator[None]:
    """Within this context the weights are w + rho g / ||g|| (eq. 2), with g their gradients when it is entered.

    Batch norms normalise as in training but leave their running statistics alone, which are those of w; so does a vMF head. On
    leaving, the weights are again what they were, bit for bit, and the gradients are those found uphill. Nothing makes the host
    wait for the device.
    """
    moved: list[Tensor] = [p for p in network.parameters() if p.grad is not None]
    weights, gradients = [p.detach().clone() for p in moved], [p.grad for p in moved if p.grad is not None]
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm | VMFHead) and m.track_running_stats]
    with torch.no_grad():
        length = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_add_(moved, torch._foreach_mul(gradients, rho / (length + 1e-12)))
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        with torch.no_grad():
            torch._foreach_copy_(moved, weights)
