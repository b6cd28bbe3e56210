"""A classifier's training step: the batch, what the network learns from it, and the ways to take it.

A step of a small network is hundreds of small kernels, which a GPU finishes faster than the host can launch them one by one;
as a CUDA graph they are launched at once. Drawing and augmenting the images stays outside of the graph: so every random draw
is a function of (seed, step) whatever the augmentation does on the host, and its calls for one step are queued while the
device computes the step before.

Nothing in a step makes the host wait for the device, but for RandAugment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltaug.classifier.augment import Augmentation
from ltaug.classifier.batches import Batch, Pool, to_input
from ltaug.classifier.losses import Loss
from ltaug.runtime import Runtime

TakeStep = Callable[[Batch, float], Tensor]

BEFORE_CAPTURE = 3  # steps in which torch and its libraries compile, choose kernels and allocate what lasts


def draw_batch(pool: Pool, index: Tensor, images: Tensor, augmentation: Augmentation) -> Batch:
    """The pool's images at `index`, (B,), which are uint8 (B, C, H, W), augmented; channels last in memory."""
    batch = augmentation(Batch(to_input(images), pool.labels[index], pool.sources[index], pool.class_counts))
    return batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class Learner:
    """A network and what it learns with.

    Attributes:
        forward: the network, or its compiled form with the same weights.
        source_weights: (2,), the weights of a real and of a synthetic image in the loss.
    """

    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    loss_per_image: Loss
    source_weights: Tensor
    runtime: Runtime

    def learn(self, batch: Batch) -> Tensor:
        """One optimizer step; the loss of the batch, still on the device."""
        with self.runtime.autocast():
            logits = self.forward(batch.images)
        losses = self.loss_per_image(logits.float(), batch.labels, batch.sources)
        sources, of_source = batch.sources, self.source_weights
        value = (losses * (of_source[sources] if sources.ndim == 1 else sources @ of_source)).mean()
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value.detach()


def warming_steps(runtime: Runtime) -> int:
    """How many of a fit's first steps compile, tune and capture."""
    return BEFORE_CAPTURE + 1 if runtime.captured else 1


def step_taker(learner: Learner) -> TakeStep:
    """How this learner takes a step, given its batch and learning rate; to be asked after a checkpoint is loaded."""
    if learner.runtime.captured:
        return CapturedSteps(learner)

    def take_step(batch: Batch, rate: float) -> Tensor:
        learner.optimizer.param_groups[0]["lr"] = rate
        return learner.learn(batch)

    return take_step


class CapturedSteps:
    """Steps that are recorded once as a CUDA graph and then replayed.

    The first few are taken call by call. The graph computes on tensors of its own, into which each step's batch and learning
    rate are copied; so the loss that a step returns is overwritten by the next one.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._stream = torch.cuda.Stream(learner.runtime.device)  # type: ignore[no-untyped-call]
        self._rate = torch.zeros((), device=learner.runtime.device)
        learner.optimizer.param_groups[0]["lr"] = self._rate
        self._batch: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._taken = 0

    def __call__(self, batch: Batch, rate: float) -> Tensor:
        if self._batch is None:
            self._batch = Batch(*(torch.empty_like(part) for part in batch))
        for held, given in zip(self._batch, batch, strict=True):
            held.copy_(given)
        self._rate.fill_(rate)
        self._taken += 1
        if self._taken <= BEFORE_CAPTURE:
            return self._beside(self._batch)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # This records and computes nothing. Threads that read images ahead may pin memory meanwhile, hence "thread_local".
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._loss = self._learner.learn(self._batch)
        self._graph.replay()
        return self._loss

    def _beside(self, batch: Batch) -> Tensor:
        """A step on the stream that the graph will be recorded on, as torch asks for."""
        now = torch.cuda.current_stream(self._learner.runtime.device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            loss = self._learner.learn(batch)
        now.wait_stream(self._stream)
        return loss
