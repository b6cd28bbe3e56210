"""What objectives are made of: a batch, one target rule, any number of regularisers, one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ltaug.generator.denoiser import Denoised, Denoiser, per_image


@dataclass(frozen=True)
class Batch:
    """A noised training batch.

    Attributes:
        x0: (B, C, H, W) clean images in [-1, 1].
        eps: (B, C, H, W) the noise that was added; the network sees x0 + sigma * eps.
        sigma, time: (B,) noise level and t/T.
        labels: (B,) the label each image is trained under: its class, or the null label where it was dropped.
        classes: (B,) the true classes.
        weight: (B,) the preconditioning's weight of the squared error of eps.
        augment: (B, A) how each image was varied, for the network, or None.
    """

    x0: Tensor
    eps: Tensor
    sigma: Tensor
    time: Tensor
    labels: Tensor
    classes: Tensor
    weight: Tensor
    augment: Tensor | None = None

    @property
    def labelled(self) -> Tensor:
        """(B,) bool: the label was not dropped."""
        return self.labels == self.classes


@dataclass(frozen=True)
class Conditioning:
    """A second look at some of the batch's noisy images under other labels.

    Attributes:
        rows: (R,) which images, or None for the whole batch.
        labels: (R,) the labels.
    """

    rows: Tensor | None
    labels: Tensor


class TargetRule(Protocol):
    """The noise that the network's eps is regressed on, (B, C, H, W), without gradient."""

    def __call__(self, batch: Batch) -> Tensor: ...


class Regulariser(Protocol):
    """A term added to the denoising loss; a module where it owns parameters.

    They are trained, clipped and checkpointed with the network's, but not averaged, and left behind at sampling.
    """

    def conditioning(self, batch: Batch) -> Conditioning | None:
        """The further conditioning it needs, which shares the one forward pass."""
        ...

    def __call__(self, own: Denoised, other: Denoised | None, batch: Batch, given: Conditioning | None) -> Tensor:
        """One value per image, (B,); `other` is the network's answer to `given`."""
        ...


@dataclass(frozen=True)
class ObjectiveTerms:
    """Loss per image (B,) and the named terms it sums, each (B,)."""

    loss: Tensor
    terms: Mapping[str, Tensor]


class Objective(nn.Module):
    """A target rule with regularisers; all conditionings of a batch go through the network as one concatenated pass."""

    def __init__(self, target: TargetRule, regularisers: Mapping[str, Regulariser]) -> None:
        super().__init__()
        self.target = target
        self.regularisers = dict(regularisers)
        self.owned = nn.ModuleDict({name: r for name, r in regularisers.items() if isinstance(r, nn.Module)})

    def forward(self, denoiser: Denoiser, batch: Batch) -> ObjectiveTerms:
        x = batch.x0 + per_image(batch.sigma, batch.x0) * batch.eps
        given = {name: r.conditioning(batch) for name, r in self.regularisers.items()}
        seen = [x, batch.sigma] if batch.augment is None else [x, batch.sigma, batch.augment]
        passes = [_pass(seen, None, batch.labels)]
        passes += [_pass(seen, c.rows, c.labels) for c in given.values() if c is not None]
        joined = [torch.cat(parts) if len(passes) > 1 else parts[0] for parts in zip(*passes, strict=True)]
        answers = _split(denoiser(*joined), [len(p[2]) for p in passes])
        own = answers.pop(0)
        error = (own.eps - self.target(batch)).square().flatten(1).mean(1)
        terms = {"denoising": batch.weight * error}
        for name, regulariser in self.regularisers.items():
            other = answers.pop(0) if given[name] is not None else None
            terms[name] = regulariser(own, other, batch, given[name])
        return ObjectiveTerms(torch.stack(list(terms.values())).sum(0), terms)


def _pass(seen: list[Tensor], rows: Tensor | None, labels: Tensor) -> list[Tensor]:
    """A denoiser's arguments for these rows of the batch under these labels."""
    x, sigma, *augment = seen if rows is None else [s[rows] for s in seen]
    return [x, sigma, labels, *augment]


def _split(denoised: Denoised, sizes: list[int]) -> list[Denoised]:
    if len(sizes) == 1:
        return [denoised]
    parts = zip(
        torch.split(denoised.x0, sizes), torch.split(denoised.eps, sizes), torch.split(denoised.features, sizes), strict=True
    )
    return [Denoised(*p) for p in parts]
