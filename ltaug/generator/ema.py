"""The exponential moving average of weights that samples are drawn from."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """An averaged copy of a module, updated in one foreach call.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that a short run does not average its beginning.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self._averaged = [p.data for p in self.module.parameters()]
        self._current = [p.data for p in module.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after `step` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)
