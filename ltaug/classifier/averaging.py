"""Averages of the weights over training steps, which often generalise better than the last ones.

An average is told by the weight that each step's weights get in it (methods.AVERAGES), a pure function of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ltaug.fields import settings_of
from ltaug.methods import AVERAGES
from ltaug.options import ClassifierOptions


def ema(taken: int, total: int, *, decay: float) -> float:
    """Exponential moving average (Polyak and Juditsky, 1992); the plain mean of all steps until 1 / (1 - decay) of them."""
    return max(1 - decay, 1 / taken)


def swa(taken: int, total: int, *, after: float) -> float:
    """The mean of the weights of all steps after the share `after` of training (Izmailov et al., UAI 2018, algorithm 1)."""
    before = int(after * total)
    return 1 / (taken - before) if taken > before else 0.0


class Average:
    """The running average of a network's parameters.

    torch's AveragedModel does the same, but it counts in a tensor, for which a step on a GPU would wait.

    Args:
        network: what is averaged, in place on its device.
        share: steps taken -> the weight of the present parameters, from 0 to 1.
    """

    def __init__(self, network: nn.Module, share: Callable[[int], float]) -> None:
        self._parameters: list[Tensor] = list(network.parameters())
        self._network, self._share = network, share
        self.weights: list[Tensor] = [p.detach().clone() for p in self._parameters]  # a checkpoint's part

    def update(self, taken: int) -> None:
        """Take in the parameters after so many steps."""
        share = self._share(taken)
        if share:
            with torch.no_grad():
                torch._foreach_lerp_(self.weights, self._parameters, share)

    def settle(self, batches: Iterable[tuple[Tensor, ...]]) -> None:
        """Give the network the average, and batch-norm statistics that belong to it.

        Statistics of the steps on the way are those of other weights, so they are computed anew, as the plain mean over
        `batches`, whose first entries are images as in training (Izmailov et al.).
        """
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, self.weights)
        update_bn(batches, self._network)


def build_average(options: ClassifierOptions, network: nn.Module, total: int) -> Average | None:
    """The average that options.average names, or None.

    Raises:
        OptionError: an unknown name.
    """
    rule = AVERAGES.find(options.average)
    return rule and Average(network, partial(rule, total=total, **settings_of(options, "average", options.average)))
