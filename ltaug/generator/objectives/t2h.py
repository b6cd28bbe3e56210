"""T2H: oriented calibration, targets that carry knowledge from head to tail classes or back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ltaug.generator.denoiser import per_image
from ltaug.generator.objectives.terms import Batch

# accept(classes' counts of z, of i): may an image's target move to another image of the batch?
GATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "t2h": torch.ge,
    "h2t": torch.le,
    "full": lambda of_z, of_i: torch.ones_like(of_i, dtype=torch.bool),
}


def posterior(batch: Batch) -> Tensor:
    """p, (B, B): the probability that the noisy image c_i = x0_i + sigma_i eps_i came from the batch's image j.

    p_ij = softmax_j(-||c_i - x0_j||^2 / (2 sigma_i^2)). Written with d = x0_i - x0_j, without the part of the exponent
    that is the same for all j, so that float32 holds it at the smallest and at the largest sigma; never in bfloat16.
    """
    with torch.autocast(batch.x0.device.type, enabled=False):
        x0, eps = batch.x0.flatten(1), batch.eps.flatten(1)
        squared = torch.cdist(x0, x0, compute_mode="donot_use_mm_for_euclid_dist").square()
        product = eps @ x0.T
        along = product.diagonal()[:, None] - product  # eps_i . (x0_i - x0_j)
        sigma = batch.sigma.to(x0.dtype)[:, None]
        return torch.softmax(-squared / (2 * sigma.square()) - along / sigma, dim=1)


def one_of_each_row(p: Tensor) -> Tensor:
    """A column of each row of p (N, M), drawn with these probabilities, (N,); torch.multinomial would make the host wait.

    The race of exponential waiting times of rates p, whose winner has these probabilities (as in multinomial itself).
    """
    return (p / torch.empty_like(p).exponential_()).argmax(1)


class OrientedCalibration:
    """Target rule of oriented calibration (Zhang et al., ICLR 2024, "Long-tailed diffusion models with oriented calibration").

    An image's clean target is drawn anew, z_i ~ p_i over the batch, and kept where the gate lets it pass: "t2h" from a
    class to one at least as frequent, "h2t" to one at most as frequent, "full" always; else z_i = i. The network is
    regressed on (c_i - x0_z) / sigma_i, still under the image's own label and noise.

    Images trained without their label are calibrated like the others, by their true class: the rule is about what the
    noisy image may have come from, and both branches of guidance then learn the same targets.
    """

    def __init__(self, class_counts: Tensor, *, gate: str = "t2h") -> None:
        self.class_counts = class_counts
        self.accept = GATES[gate]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        drawn = one_of_each_row(posterior(batch))
        n = self.class_counts.to(batch.classes.device)[batch.classes]
        z = torch.where(self.accept(n[drawn], n), drawn, torch.arange(len(n), device=n.device))
        return batch.eps + (batch.x0 - batch.x0[z]) / per_image(batch.sigma, batch.x0)


t2h, h2t, full = (partial(OrientedCalibration, gate=gate) for gate in GATES)
