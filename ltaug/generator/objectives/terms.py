"""What objectives are made of: a batch, one target rule, any number of regularisers, one forward pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ltaug.generator.denoiser import Denoised, Denoiser, per_image


@dataclass(frozen=True)
class Batch:
    """A noised training batch."""

    x0: Tensor  # (B, C, H, W), clean images in [-1, 1]
    eps: Tensor  # (B, C, H, W), the noise that was added; the network sees x0 + sigma * eps
    sigma: Tensor  # (B,), noise level
    time: Tensor  # (B,), t/T
    labels: Tensor  # (B,), what each image is trained under: its class, or the null label where it was dropped
    classes: Tensor  # (B,), the true classes
    weight: Tensor  # (B,), the preconditioning's weight of the squared error of eps
    augment: Tensor | None = None  # (B, A), how each image was varied, for the network

    @property
    def labelled(self) -> Tensor:
        """(B,) bool: the label was not dropped."""
        return self.labels == self.classes

    def part(self, start: int, stop: int) -> Batch:
        """Images start to stop alone."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: value[start:stop] for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Conditioning:
    """A second look at some of the batch's noisy images under other labels."""

    rows: Tensor | None  # (R,), which images; None for the whole batch
    labels: Tensor  # (R,)
    scale: float = 1.0  # loss factor per row: above 1 if only part is paired, below 1 if an image is paired several times

    def part(self, start: int, stop: int) -> Conditioning:
        """What of it concerns images start to stop, with rows counted from `start`."""
        if self.rows is None:
            return dataclasses.replace(self, labels=self.labels[start:stop])
        mine = (self.rows >= start) & (self.rows < stop)
        return dataclasses.replace(self, rows=self.rows[mine] - start, labels=self.labels[mine])


class TargetRule(Protocol):
    """The noise that the network's eps is regressed on, (B, C, H, W), without gradient."""

    def __call__(self, batch: Batch) -> Tensor: ...


def ddpm(class_counts: Tensor) -> TargetRule:
    """The target rule `plain_target`."""
    return plain_target


def plain_target(batch: Batch) -> Tensor:
    """eps itself, the plain target of denoising diffusion (Ho et al., NeurIPS 2020, L_simple)."""
    return batch.eps


@dataclass(frozen=True)
class Judged:
    """Where each class's real images lie in the features of judges: what a regulariser that needs judges is given as `judged`.

    Stages make it from classifiers of the real images alone; the generator knows no classifier.
    """

    look: Callable[[Tensor], Tensor]  # of images (B, C, H, W) in -1..1: their features (B, D), differentiable, in float32
    centroids: Tensor  # (K, D), the mean of each class's real images
    widths: Tensor  # (K,), the largest distance between two of them (synthesis.places.widths_of); infinite where not known


class Regulariser(Protocol):
    """A term added to the denoising loss; a module where it owns parameters.

    They are trained, clipped and checkpointed with the network's, but not averaged, and left behind at sampling.
    """

    def conditioning(self, batch: Batch) -> Conditioning | None:
        """The further conditioning it needs, which shares the one forward pass."""

    def __call__(self, own: Denoised, other: Denoised | None, batch: Batch, given: Conditioning | None) -> Tensor:
        """One value per image, (B,); `other` is the network's answer to `given`."""


@runtime_checkable
class Comparison(Protocol):
    """A regulariser in which an image's value depends on what the network says of the batch's other images.

    Such a batch cannot be cut into micro-batches, since all its images are needed at once. It can be shared by processes,
    which gather the representations of each other's images.
    """

    def represent(self, own: Denoised) -> Tensor:
        """(B, D), what is compared of each image; a row depends on its image alone."""

    def compare(self, represented: Tensor, batch: Batch) -> Tensor:
        """One value per image of the whole batch, (B,), from the representations (B, D) of all of them."""


@dataclass(frozen=True)
class ObjectiveTerms:
    """Loss per image (B,) and the named terms it sums, each (B,)."""

    loss: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """A batch and everything random in its objective, drawn for the whole of it before the network sees any part."""

    batch: Batch
    target: Tensor  # (B, C, H, W), the noise to regress on
    given: Mapping[str, Conditioning | None]  # each regulariser's further conditioning
    whole: Batch  # the batch that these images are, or are a part of
    start: int = 0  # the place of the first of them in it

    def part(self, start: int, stop: int) -> Drawn:
        """Images start to stop alone; the losses of all parts together are those of the batch."""
        given = {name: None if c is None else c.part(start, stop) for name, c in self.given.items()}
        return Drawn(self.batch.part(start, stop), self.target[start:stop], given, self.whole, self.start + start)


Ask = Callable[[Denoiser, list[list[Tensor]]], list[Denoised]]  # the denoiser's answers to several lists of its arguments
Gather = Callable[[Tensor, int, int], Tensor]  # (rows, place of the first, number in all) -> all processes' rows


def in_one_pass(denoiser: Denoiser, passes: list[list[Tensor]]) -> list[Denoised]:
    """All conditionings as one concatenated batch."""
    if len(passes) == 1:
        return [denoiser(*passes[0])]
    both, sizes = denoiser(*(torch.cat(parts) for parts in zip(*passes, strict=True))), [len(p[0]) for p in passes]
    parts = zip(torch.split(both.x0, sizes), torch.split(both.eps, sizes), torch.split(both.features, sizes), strict=True)
    return [Denoised(*p) for p in parts]


def one_by_one(denoiser: Denoiser, passes: list[list[Tensor]]) -> list[Denoised]:
    """A forward pass for each conditioning, as the published code has it."""
    return [denoiser(*p) for p in passes]


def nothing_to_gather(rows: Tensor, start: int, total: int) -> Tensor:
    """For a process that has all rows itself."""
    return rows


class Objective(nn.Module):
    """A target rule with regularisers; all conditionings of a batch go through the network as one concatenated pass."""

    def __init__(self, target: TargetRule, regularisers: Mapping[str, Regulariser | Comparison]) -> None:
        super().__init__()
        self.target = target
        self.regularisers = dict(regularisers)
        self.owned = nn.ModuleDict({name: r for name, r in regularisers.items() if isinstance(r, nn.Module)})

    def forward(self, denoiser: Denoiser, batch: Batch) -> ObjectiveTerms:
        return self.terms(denoiser, self.draw(batch))

    def draw(self, batch: Batch) -> Drawn:
        """Everything random about a batch but dropout."""
        given = {name: None if isinstance(r, Comparison) else r.conditioning(batch) for name, r in self.regularisers.items()}
        return Drawn(batch, self.target(batch), given, whole=batch)

    def terms(
        self, denoiser: Denoiser, drawn: Drawn, *, ask: Ask = in_one_pass, gather: Gather = nothing_to_gather
    ) -> ObjectiveTerms:
        """The loss of what was drawn; `ask` says in how many passes, `gather` fetches what other processes have of the batch."""
        batch = drawn.batch
        x = batch.x0 + per_image(batch.sigma, batch.x0) * batch.eps
        seen = [x, batch.sigma] if batch.augment is None else [x, batch.sigma, batch.augment]
        passes = [_pass(seen, None, batch.labels)]
        passes += [_pass(seen, c.rows, c.labels) for c in drawn.given.values() if c is not None]
        answers = ask(denoiser, passes)
        own = answers.pop(0)
        error = (own.eps - drawn.target).square().flatten(1).mean(1)
        terms = {"denoising": batch.weight * error}
        for name, regulariser in self.regularisers.items():
            if isinstance(regulariser, Comparison):
                terms[name] = _compared(regulariser, own, drawn, gather)
            else:
                given = drawn.given[name]
                terms[name] = regulariser(own, answers.pop(0) if given is not None else None, batch, given)
        return ObjectiveTerms(torch.stack(list(terms.values())).sum(0), terms)


def _compared(comparison: Comparison, own: Denoised, drawn: Drawn, gather: Gather) -> Tensor:
    """The values of these images, (b,), whose sum has the gradient of the values of the whole batch.

    An image takes part in the values of others. Instead of sending gradients back, every process that has a part of the batch
    takes the gradient of all values with regard to its own images; over the processes they add up to the batch's.
    """
    values = comparison.compare(gather(comparison.represent(own), drawn.start, len(drawn.whole.labels)), drawn.whole)
    count = len(drawn.batch.labels)
    if count == len(values):
        return values
    total = values.sum()
    return values[drawn.start : drawn.start + count].detach() + (total - total.detach()) / count


def _pass(seen: list[Tensor], rows: Tensor | None, labels: Tensor) -> list[Tensor]:
    """A denoiser's arguments for these rows of the batch under these labels."""
    x, sigma, *augment = seen if rows is None else [s[rows] for s in seen]
    return [x, sigma, labels, *augment]
