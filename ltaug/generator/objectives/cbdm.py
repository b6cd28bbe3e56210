"""CBDM: class-balancing diffusion models."""

from __future__ import annotations

import torch
from torch import Tensor

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives.terms import Batch, Conditioning


def label_distribution(class_counts: Tensor, label_set: str) -> Tensor:
    """q*(y'), (K,): "train" ~ n_c, "bal" uniform over the classes present, "sqrt" ~ sqrt(n_c)."""
    counts = class_counts.double()
    power = {"train": 1.0, "bal": 0.0, "sqrt": 0.5}[label_set]
    weight = torch.where(counts > 0, counts.clamp_min(1) ** power, 0.0)
    return weight / weight.sum()


class CBDM:
    """Class-balancing regulariser (Qin et al., CVPR 2023, eq. 4 and 5).

    Pulls the prediction h for an image towards h', the one under a random class y' ~ q*, so that tail classes share what
    head classes know: w mean((h - sg h')^2) + gamma w mean((sg h - h')^2), w = tau t/T.

    Images trained without their label have no class to balance; their term is 0.
    """

    def __init__(self, class_counts: Tensor, *, label_set: str = "train", tau: float = 1.0, gamma: float = 0.25) -> None:
        self.q = label_distribution(class_counts, label_set)
        self.tau = tau
        self.gamma = gamma

    def conditioning(self, batch: Batch) -> Conditioning:
        q = self.q.to(batch.labels.device)
        return Conditioning(None, torch.multinomial(q, len(batch.labels), replacement=True))

    def __call__(self, own: Denoised, other: Denoised | None, batch: Batch, given: Conditioning | None) -> Tensor:
        assert other is not None
        weight = self.tau * batch.time * batch.weight * batch.labelled
        # Both directions, as in the paper; detach decides which side moves.
        pull = (own.eps - other.eps.detach()).square() + self.gamma * (own.eps.detach() - other.eps).square()
        return weight * pull.flatten(1).mean(1)
