"""The exponential moving average of weights that samples are drawn from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Lerp = Callable[[list[Tensor], list[Tensor], float], object]  # moves each of the first towards the second, in place


class EMA:
    """An averaged copy of a module, updated in one foreach call (`lerp`; the plain way puts a loop there).

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that a short run does not average its beginning. Started
    from a trained network's weights, an average counts the steps behind those too (`steps_before`): the first further steps
    are no such beginning, and averaging over a tenth of a short fine-tuning would be noisy. On digits, 50 or 250 steps of
    CBDM after 1000 of DDPM, 2 seeds: mean loss on unseen images 0.0865 so, 0.0880 with a warm-up of its own, 0.0918 of the
    weights that are averaged.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.steps_before = 0
        self.lerp: Lerp = torch._foreach_lerp_
        self._averaged: list[Tensor] = list(self.module.parameters())
        self._current: list[Tensor] = list(module.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after `step` (counted from 0)."""
        self.lerp(self._averaged, self._current, 1 - self._decay(step))

    def share_left(self, steps: int) -> float:
        """How much of the average is still what it started from, after so many steps."""
        return math.prod(self._decay(step) for step in range(steps))

    def _decay(self, step: int) -> float:
        done = self.steps_before + step
        return min(self.decay, (1 + done) / (10 + done))
