"""CBDM: class-balancing diffusion models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives.terms import Batch, Conditioning
from ltaug.generator.resampling import class_shares


def label_distribution(class_counts: Tensor, label_set: str) -> Tensor:
    """q*(y'), (K,): "train" ~ n_c, "bal" uniform over the classes present, "sqrt" ~ sqrt(n_c)."""
    return class_shares(class_counts, power={"train": 1.0, "bal": 0.0, "sqrt": 0.5}[label_set])


# name -> (probability that an image is paired, weight of its pair) as functions of t/T; their product is always t/T
PAIR_FORMS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "weighted": lambda time: (torch.ones_like(time), time),
    "sampled": lambda time: (time, torch.ones_like(time)),
}
DRAWN = ("sampled",)  # forms of which that probability is not 1; how many are paired differs, and the host waits to know it


class CBDM:
    """Class-balancing regulariser (Qin et al., CVPR 2023, eq. 4 and 5).

    Pulls the prediction h for an image towards h', the one under a random class y' ~ q*, so that tail classes share what
    head classes know: w mean((h - sg h')^2) + gamma w mean((sg h - h')^2), w = tau t/T.

    Images trained without their label have no class to balance; their term is 0.

    Args:
        class_counts: (K,) training images per class.
        feature_channels: not read.
        draws: |Y|, classes y' drawn for an image; the term is their mean.
        pair_form: "weighted" pairs every image and weights by t/T, as in the paper. "sampled" pairs an image with
            probability t/T and weight 1: the same expectation for half the second passes (where t/T is uniform).
        pair_fraction: pair a random part of the batch, weighted by the inverse of the part; the same expectation.
    """

    def __init__(
        self,
        class_counts: Tensor,
        feature_channels: int = 0,
        *,
        label_set: str = "train",
        tau: float = 1.0,
        gamma: float = 0.25,
        draws: int = 1,
        pair_form: str = "weighted",
        pair_fraction: float = 1.0,
    ) -> None:
        self.q = label_distribution(class_counts, label_set)
        self.tau, self.gamma = tau, gamma
        self.draws, self.pair_form, self.pair_fraction = draws, pair_form, pair_fraction

    def conditioning(self, batch: Batch) -> Conditioning:
        rows, images = self._rows(batch), len(batch.labels)
        count = images if rows is None else len(rows)
        q = self.q.to(batch.labels.device)
        drawn = torch.multinomial(q, count, replacement=True) if count else batch.labels[:0]
        return Conditioning(rows, drawn, scale=images / self._part(images) / self.draws)

    def _rows(self, batch: Batch) -> Tensor | None:
        """The images to pair, each `draws` times; None for all of them once."""
        if (self.draws, self.pair_form, self.pair_fraction) == (1, "weighted", 1.0):
            return None  # the whole batch needs no copying
        count, device = len(batch.labels), batch.labels.device
        rows = torch.arange(count, device=device)
        if self.pair_fraction < 1:
            rows = torch.randperm(count, device=device)[: self._part(count)]
        if self.pair_form in DRAWN:
            probability, _ = PAIR_FORMS[self.pair_form](batch.time[rows])
            rows = rows[torch.rand(len(rows), device=device) < probability]
        return rows.repeat(self.draws)

    def _part(self, count: int) -> int:
        return max(1, round(self.pair_fraction * count))

    def __call__(self, own: Denoised, other: Denoised | None, batch: Batch, given: Conditioning | None) -> Tensor:
        assert other is not None
        rows, scale = (None, 1.0) if given is None else (given.rows, given.scale)
        h, h_other = own.eps if rows is None else own.eps[rows], other.eps
        # Both directions, as in the paper; detach decides which side moves.
        pull = (h - h_other.detach()).square() + self.gamma * (h.detach() - h_other).square()
        pull = pull.flatten(1).mean(1)
        _, pair_weight = PAIR_FORMS[self.pair_form](batch.time)
        weight = self.tau * pair_weight * batch.weight * batch.labelled * scale
        return weight * pull if rows is None else torch.zeros_like(weight).index_add(0, rows, weight[rows] * pull)
