"""A classifier's training step, taken call by call or replayed as a CUDA graph.

A step of a small network is hundreds of small kernels, which a GPU finishes faster than the host can launch them one by one;
a CUDA graph launches them all at once. Drawing and augmenting the images stays outside the graph, so that every random draw
is a function of (seed, step) whatever the augmentation does on the host, and so that the host can queue the next step's
augmentation while the device computes.

Nothing in a step makes the host wait for the device, except RandAugment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltaug.classifier.batches import Batch, as_weights
from ltaug.classifier.contrastive import VMFHead
from ltaug.classifier.losses import Loss
from ltaug.classifier.optimizers import set_rate
from ltaug.classifier.sam import uphill
from ltaug.classifier.teachers import Ensemble, distillation
from ltaug.runtime import Runtime

TakeStep = Callable[[Batch, float], Tensor]

BEFORE_CAPTURE = 3  # steps in which torch and its libraries compile, choose kernels and allocate lasting memory


@dataclass(frozen=True)
class Learner:
    """A network and everything it learns with."""

    network: nn.Module
    forward: Callable[[Tensor], Tensor]  # the network, or its compiled form with the same weights
    optimizer: torch.optim.Optimizer
    loss_per_image: Loss
    weights: Tensor  # (2, K), of an image in the loss, by source and class; a captured step reads them from here
    sam_rho: float
    teachers: Ensemble | None
    soft_shares: Tensor  # (2,), the part of their loss that is distillation, where there are teachers
    smoothing: Tensor | None  # (K, K), the label weights of an image of each class, where labels are smoothed
    runtime: Runtime
    head: VMFHead | None = None  # the network's, if it learns statistics of the classes

    def learn(self, batch: Batch) -> Tensor:
        """One optimizer step; the loss of the batch, still on the device."""
        value = self._find_gradients(batch)
        if self.sam_rho:
            with uphill(self.network, self.sam_rho):
                self._find_gradients(batch)
        self.optimizer.step()
        self._note(batch)
        return value

    def passed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, which the caller passes through the network: the head's statistics become those of these passes."""
        if self.head is not None:
            self.head.forget()
        for batch in batches:
            yield batch
            self._note(batch)

    def _note(self, batch: Batch) -> None:
        """Let the head learn from the batch that was passed; an image counts as in the loss."""
        if self.head is not None:
            self.head.take_in(as_weights(batch.labels, self.weights.shape[1]) * _weight(batch, self.weights)[:, None])

    def _find_gradients(self, batch: Batch) -> Tensor:
        with self.runtime.autocast():
            logits = self.forward(batch.images)
            soft = None if self.teachers is None else self.teachers(batch.images[: len(batch.labels)])  # without donors
        value = self._value(logits.float(), soft, batch)
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def _value(self, logits: Tensor, soft: Tensor | None, batch: Batch) -> Tensor:
        """The loss of a batch, from its logits, (B, K) or several kinds of them side by side, and what teachers say, (B, K).

        The losses of several kinds add up; teachers are compared with the sum of the kinds, which is the network's at test time.
        """
        labels, sources = batch.labels, batch.sources
        if self.smoothing is not None:
            labels = as_weights(labels, len(self.smoothing)) @ self.smoothing
        kinds = torch.split(logits, self.weights.shape[1], dim=1)
        losses = torch.stack([self.loss_per_image(kind, labels, sources) for kind in kinds]).sum(0)
        if soft is not None and self.teachers is not None:
            share = as_weights(sources, 2) @ self.soft_shares
            losses = (1 - share) * losses + share * distillation(
                torch.stack(kinds).sum(0), soft, temperature=self.teachers.temperature
            )
        return (losses * _weight(batch, self.weights)).mean()


def _weight(batch: Batch, weights: Tensor) -> Tensor:
    """The weight of each image, (B,); of a mixed one the mixture over its sources and classes."""
    if batch.sources.ndim == batch.labels.ndim == 1:
        return weights[batch.sources, batch.labels]
    s, k = weights.shape
    return ((as_weights(batch.sources, s) @ weights) * as_weights(batch.labels, k)).sum(1)


def warming_steps(runtime: Runtime) -> int:
    """The number of steps at the start of a fit that compile, tune and capture."""
    return BEFORE_CAPTURE + 1 if runtime.captured else 1


def step_taker(learner: Learner) -> TakeStep:
    """A function (batch, learning rate) -> loss that takes a step; make it after a checkpoint is loaded."""
    if learner.runtime.captured:
        return CapturedSteps(learner)

    def take_step(batch: Batch, rate: float) -> Tensor:
        set_rate(learner.optimizer, rate)
        return learner.learn(batch)

    return take_step


class CapturedSteps:
    """Records a step once as a CUDA graph and then replays it.

    The first few steps are taken call by call. The graph computes on tensors of its own, into which each step's batch and
    learning rates are copied. The next step overwrites the loss that a step returns.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._stream = torch.cuda.Stream(learner.runtime.device)  # type: ignore[no-untyped-call]
        for group in learner.optimizer.param_groups:
            group["lr"] = torch.zeros((), device=learner.runtime.device)
        self._batch: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._taken = 0

    def __call__(self, batch: Batch, rate: float) -> Tensor:
        if self._batch is None:
            self._batch = Batch(*(torch.empty_like(part) for part in batch))
        for held, given in zip(self._batch, batch, strict=True):
            held.copy_(given)
        set_rate(self._learner.optimizer, rate)
        self._taken += 1
        if self._taken <= BEFORE_CAPTURE:
            return self._beside(self._batch)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # This records without computing. "thread_local" lets the threads that read images ahead pin memory meanwhile.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._loss = self._learner.learn(self._batch)
        self._graph.replay()
        return self._loss

    def _beside(self, batch: Batch) -> Tensor:
        """A step on the stream that the graph will be recorded on, as torch requires."""
        now = torch.cuda.current_stream(self._learner.runtime.device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            loss = self._learner.learn(batch)
        now.wait_stream(self._stream)
        return loss
