"""One training step, and the ways to compute it: they differ in speed and memory, and agree up to rounding.

Nothing in a step makes the host wait for the device, but for the forms of CBDM that pair a drawn part of the batch with
micro-batches or draw how many images they pair (cbdm.DRAWN).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from ltaug.distributed.group import SOLO, Group
from ltaug.errors import OptionError, out_of_memory
from ltaug.generator.cpu_forms import suit
from ltaug.generator.objectives import require_whole_batches
from ltaug.generator.objectives.terms import Batch, Comparison, Drawn, ObjectiveTerms, in_one_pass, one_by_one
from ltaug.generator.trainee import Trainee, learning
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime, derive_seed, seed_streams


def prepare(trainee: Trainee, options: GeneratorOptions, runtime: Runtime, group: Group = SOLO) -> Trainee:
    """A new trainee in the form that this runtime computes; before its first step and before a checkpoint is loaded.

    Raises:
        OptionError: micro-batches, and a term of the objective that needs the whole batch; more processes than images a step.
    """
    world = group.place.world
    if options.batch_size < world:
        raise OptionError(f"--batch-size {options.batch_size} gives {world} processes nothing to share; start fewer of them")
    require_whole_batches(options, runtime.micro_batch, images=-(-options.batch_size // world))
    if runtime.checkpoint_activations:
        _recompute_blocks(trainee.denoiser.backbone)
        if runtime.compiled and not group.alone:
            torch._dynamo.config.optimize_ddp = False  # it cuts up graphs, but not those with recomputed blocks
    suit(trainee.denoiser.backbone, runtime)
    return _plain(trainee, options) if runtime.plain else trainee


def _recompute_blocks(backbone: nn.Module) -> None:
    """Keep of every block only its input, and compute the rest again backwards, with the same dropout.

    Blocks are what a backbone has in lists and is made of several layers.
    """
    for stack in getattr(backbone, "network", backbone).children():  # a published network stands in its wrapper
        if isinstance(stack, nn.ModuleList):
            for block in stack:
                if any(True for _ in block.children()):
                    block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _plain(trainee: Trainee, options: GeneratorOptions) -> Trainee:
    """Contiguous weights, and Adam and the average as loops over tensors."""
    for module in (trainee.denoiser, trainee.ema.module):
        module.to(memory_format=torch.contiguous_format)
    trainee.ema.lerp = _lerp_in_a_loop
    parameters = learning(trainee.denoiser, trainee.objective)
    return dataclasses.replace(trainee, optimizer=torch.optim.Adam(parameters, lr=options.lr, foreach=False, fused=False))


def _lerp_in_a_loop(averaged: Sequence[Tensor], current: Sequence[Tensor], weight: float) -> None:
    for average, now in zip(averaged, current, strict=True):
        average.lerp_(now, weight)


class _Losses(nn.Module):
    """Network and objective as one module: what DistributedDataParallel wraps."""

    def __init__(self, trainee: Trainee, runtime: Runtime, group: Group) -> None:
        super().__init__()
        self.denoiser, self.objective = trainee.denoiser, trainee.objective
        self._runtime = runtime
        self._group = group

    def forward(self, drawn: Drawn) -> ObjectiveTerms:
        ask = one_by_one if self._runtime.plain else in_one_pass
        with self._runtime.autocast():
            return self.objective.terms(self.denoiser, drawn, ask=ask, gather=self._group.gather)


class Gradients:
    """The gradients of a batch's mean loss, computed in micro-batches and by the group's processes together.

    Where the memory of a process alone runs out and the objective allows it, micro-batches are halved, and stay so.
    """

    def __init__(
        self, trainee: Trainee, runtime: Runtime, group: Group = SOLO, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        losses = _Losses(trainee, runtime, group)
        self._losses: nn.Module = losses if group.alone else DistributedDataParallel(losses)
        self._objective = losses.objective
        self._micro_batch = runtime.micro_batch
        self._group = group
        self._tell = tell

    def add(self, batch: Batch) -> dict[str, Tensor]:
        """Give the parameters, which have no gradients, those of the batch's mean loss, one micro-batch after another.

        Every process draws what is random in the objective for the whole batch, so the sum does not depend on how the batch is
        cut up; dropout alone is drawn as the parts go through the network.

        Returns:
            What this process's images contribute to the batch means of the loss and its terms.
        """
        count = len(batch.labels)
        drawn = self._objective.draw(batch)
        if not self._group.alone:
            share = self._group.share_of(count)
            drawn = drawn.part(share.start, share.stop)
            seed_streams(derive_seed(torch.initial_seed(), "rank", self._group.place.rank))
        own = len(drawn.batch.labels)
        while (means := self._attempt(drawn, count, size := min(self._micro_batch or own, own))) is None:
            self._micro_batch = size // 2
            self._tell(f"Out of memory with {size} images at a time; going on with micro-batches of {self._micro_batch}.")
        return means

    def _attempt(self, drawn: Drawn, count: int, size: int) -> dict[str, Tensor] | None:
        """The gradients of what was drawn; None, and no gradients, where memory ran out and half of `size` may do."""
        try:
            return self._add(drawn, count, size)
        except (RuntimeError, MemoryError) as error:
            whole = any(isinstance(regulariser, Comparison) for regulariser in self._objective.regularisers.values())
            if not out_of_memory(error) or size == 1 or whole or not self._group.alone:
                raise
        # Only here does nothing hold on to what filled the memory.
        self._losses.zero_grad(set_to_none=True)
        if drawn.target.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _add(self, drawn: Drawn, count: int, size: int) -> dict[str, Tensor]:
        """Add the gradients of what was drawn of a batch of `count` images, `size` at a time."""
        own = len(drawn.batch.labels)
        means: dict[str, Tensor] = {}
        for start in range(0, own, size):
            part = drawn if size == own else drawn.part(start, start + size)
            with self._summed(last=start + size >= own):
                result = self._losses(part)
                # Processes' gradients are averaged, but losses are sums over their parts of one batch.
                (result.loss.sum() / (count / self._group.place.world)).backward()
            for name, values in {"loss": result.loss, **result.terms}.items():
                mean = values.detach().sum() / count
                means[name] = means[name] + mean if name in means else mean
        return means

    def _summed(self, *, last: bool) -> AbstractContextManager[None]:
        """Over the processes, once: with the last part."""
        if last or not isinstance(self._losses, DistributedDataParallel):
            return nullcontext()
        return self._losses.no_sync()


def train_step(
    trainee: Trainee, batch: Batch, options: GeneratorOptions, runtime: Runtime, *, step: int, gradients: Gradients | None = None
) -> dict[str, Tensor]:
    """One optimizer step, with gradients by this process alone unless `gradients` are given.

    The optimizer leaves a step out whose gradients are not finite; `trainee.skipped` counts them.

    Returns:
        What this process's images contribute to the batch means of the loss and its terms, still on the device.
    """
    rate = options.lr * min(1.0, (step + 1) / max(1, options.warmup))
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate
    trainee.optimizer.zero_grad(set_to_none=True)
    terms = (gradients or Gradients(trainee, runtime)).add(batch)
    parameters = learning(trainee.denoiser, trainee.objective)
    norm = nn.utils.clip_grad_norm_(parameters, options.grad_clip or math.inf)
    _update(trainee, skip=~norm.isfinite())
    trainee.ema.update(step)
    return terms


def _update(trainee: Trainee, *, skip: Tensor) -> None:
    """The optimizer's step, unless `skip`, a bool on the device, is true; fused forms read it there."""
    trainee.skipped.add_(1).mul_(skip)
    fused: Any = trainee.optimizer
    if fused.defaults["fused"]:
        fused.grad_scale, fused.found_inf = None, skip.float()
        fused.step()
    elif not skip:
        fused.step()
