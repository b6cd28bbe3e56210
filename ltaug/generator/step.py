"""One training step, and the ways to compute it: they differ in speed and memory, and agree up to rounding.

Nothing in a step makes the host wait for the device, but for the forms of CBDM that pair a drawn part of the batch with
micro-batches or draw how many images they pair (cbdm.DRAWN).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ltaug.errors import OptionError
from ltaug.generator.checkpoints import Trainee
from ltaug.generator.cpu_forms import suit
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.objectives.terms import Batch, Objective, in_one_pass, one_by_one
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime


def prepare(trainee: Trainee, options: GeneratorOptions, runtime: Runtime) -> Trainee:
    """A new trainee in the form that this runtime computes; before its first step and before a checkpoint is loaded.

    Raises:
        OptionError: micro-batches, and a term of the objective that needs the whole batch.
    """
    denoiser, objective = _parts(trainee)
    if runtime.micro_batch is not None and runtime.micro_batch < options.batch_size:
        for name, regulariser in objective.regularisers.items():
            if regulariser.whole_batch:
                raise OptionError(
                    f"--micro-batch {runtime.micro_batch} does not go with --objective {options.objective}: {name} compares the "
                    f"images of a batch with each other; use --checkpoint-activations to save memory, or leave out {name}"
                )
    if runtime.checkpoint_activations:
        _recompute_blocks(denoiser.backbone)
    suit(denoiser.backbone, runtime)
    return _plain(trainee, options) if runtime.plain else trainee


def _parts(trainee: Trainee) -> tuple[Denoiser, Objective]:
    assert isinstance(trainee.denoiser, Denoiser)
    assert isinstance(trainee.objective, Objective)
    return trainee.denoiser, trainee.objective


def _recompute_blocks(backbone: nn.Module) -> None:
    """Keep of every block only its input, and compute the rest again backwards, with the same dropout.

    Blocks are what a backbone has in lists and is made of several layers.
    """
    for stack in backbone.children():
        if isinstance(stack, nn.ModuleList):
            for block in stack:
                if any(True for _ in block.children()):
                    block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _plain(trainee: Trainee, options: GeneratorOptions) -> Trainee:
    """Contiguous weights, and Adam and the average as loops over tensors."""
    denoiser, objective = _parts(trainee)
    for module in (denoiser, trainee.ema.module):
        module.to(memory_format=torch.contiguous_format)
    trainee.ema.lerp = _lerp_in_a_loop
    parameters = [*denoiser.parameters(), *objective.parameters()]
    return dataclasses.replace(trainee, optimizer=torch.optim.Adam(parameters, lr=options.lr, foreach=False, fused=False))


def _lerp_in_a_loop(averaged: Sequence[Tensor], current: Sequence[Tensor], weight: float) -> None:
    for average, now in zip(averaged, current, strict=True):
        average.lerp_(now, weight)


def train_step(trainee: Trainee, batch: Batch, options: GeneratorOptions, runtime: Runtime, *, step: int) -> dict[str, Tensor]:
    """One optimizer step; the batch means of the loss and its terms, still on the device."""
    denoiser, objective = _parts(trainee)
    rate = options.lr * min(1.0, (step + 1) / max(1, options.warmup))
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate
    trainee.optimizer.zero_grad(set_to_none=True)
    terms = accumulate(denoiser, objective, batch, runtime)
    if options.grad_clip:
        nn.utils.clip_grad_norm_([*denoiser.parameters(), *objective.parameters()], options.grad_clip)
    trainee.optimizer.step()
    trainee.ema.update(step)
    return terms


def accumulate(denoiser: Denoiser, objective: Objective, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
    """Add the gradients of the batch's mean loss to the parameters', one micro-batch after another.

    What is random in the objective is drawn for the whole batch first, so the sum does not depend on how it is cut up; dropout
    alone is drawn as the parts go through the network.

    Returns:
        The batch means of the loss and its terms.
    """
    count = len(batch.labels)
    size = min(runtime.micro_batch or count, count)
    drawn = objective.draw(batch)
    means: dict[str, Tensor] = {}
    for start in range(0, count, size):
        part = drawn if size == count else drawn.part(start, start + size)
        with runtime.autocast():
            result = objective.terms(denoiser, part, ask=one_by_one if runtime.plain else in_one_pass)
        (result.loss.sum() / count).backward()  # type: ignore[no-untyped-call]
        for name, values in {"loss": result.loss, **result.terms}.items():
            mean = values.detach().sum() / count
            means[name] = means[name] + mean if name in means else mean
    return means
