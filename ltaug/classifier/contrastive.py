"""ProCo: contrastive learning against a distribution of every class on the unit sphere, for long tails.

Du et al., "Probabilistic Contrastive Learning for Long-Tailed Visual Recognition" (TPAMI 2024). The features z of a class follow
a von Mises-Fisher distribution, whose parameters come from the mean of its features. In expectation over these distributions a
supervised contrastive loss with endlessly many pairs is a cross-entropy of closed-form logits, adjusted for the class prior.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIMENSIONS = 128
TEMPERATURE = 0.1
LONGEST_MEAN = 0.999  # of a class: kappa is at most 64,000, where a logit is within .1 % of cosine / temperature
KEPT = 0.99  # of a class's count after a step


def vmf_logits(z: Tensor, means: Tensor) -> Tensor:
    """log C_p(kappa_c) - log C_p(||kappa_c mu_c + z / tau||), without the class prior, which the loss adds: (B, K).

    Args:
        z: (B, p), of length 1.
        means: (K, p), the mean feature of each class: mu_c is its direction, R its length and kappa_c = p R / (1 - R^2). A mean
            of zero is a uniform distribution, which says nothing of an image.
    """
    p = means.shape[1]
    length = means.norm(dim=1).clamp_max(LONGEST_MEAN)
    kappa = p * length / (1 - length**2)
    added = (2 * kappa / TEMPERATURE) * (z @ F.normalize(means, dim=1).T) + TEMPERATURE**-2
    return log_normaliser_ratio(kappa**2, added, dimensions=p)


def log_normaliser_ratio(square: Tensor, added: Tensor, *, dimensions: int) -> Tensor:
    """log C_p(k) - log C_p(l) for k^2 = `square` and l^2 = `square` + `added`, with C_p the density's factor in p `dimensions`.

    log C_p(k) is nu log k - log I_nu(k) and a constant, with nu = p/2 - 1. The uniform expansion of I_nu for large orders (DLMF
    10.41.3, three terms) is within 1e-6 for p = 128 at every k. Its log k cancels, so k = 0 is no special case, and it is written
    by the difference of the two, so float32 is exact enough where both are large. Shapes broadcast.
    """
    nu = dimensions / 2 - 1
    s = (square + nu**2).sqrt()
    further = added / (s + (square + added + nu**2).sqrt())
    grown = further - nu * torch.log1p(further / (nu + s)) - 0.5 * torch.log1p(further / s)
    return grown + _log_series(nu / (s + further), nu) - _log_series(nu / s, nu)


def _log_series(t: Tensor, nu: float) -> Tensor:
    first, second = (3 * t - 5 * t**3) / 24, (81 * t**2 - 462 * t**4 + 385 * t**6) / 1152
    return torch.log1p(first / nu + second / nu**2)


class VMFHead(nn.Module):
    """Linear logits, and those of von Mises-Fisher distributions of the classes on a projection of the features.

    In evaluation mode the output is their sum, (B, K). In training mode it is both side by side, (B, 2K), and a learner adds up
    the losses of the two. There is one view of an image, the augmented one (the paper has three), so a step costs what it costs
    other losses. What is not linear is computed in float32.

    `take_in` learns the mean feature of each class, without gradient, from the batch of the last forward pass: in the mean each
    step's images count KEPT times as much as those of the step after it (the paper takes the mean over the last epoch). A class
    that has not been seen yet is uniform on the sphere.
    """

    means: Tensor  # (K, DIMENSIONS)
    counts: Tensor  # (K,), the weight of the images behind each mean

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        hidden = [nn.Linear(features, features), nn.BatchNorm1d(features), nn.ReLU()]
        self.project = nn.Sequential(*hidden, nn.Linear(features, DIMENSIONS))
        self.register_buffer("means", torch.zeros(classes, DIMENSIONS))
        self.register_buffer("counts", torch.zeros(classes))
        self.track_running_stats = True  # SAM switches this off, as that of batch norms, in its second pass
        self._seen = torch.zeros(0, DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        linear: Tensor = self.linear(x)
        projected: Tensor = self.project(x)
        with torch.autocast(x.device.type, enabled=False):
            z = F.normalize(projected.float(), dim=1)
            linear, contrasted = linear.float(), vmf_logits(z, self.means)
        if not self.training:
            return linear + contrasted
        if self.track_running_stats:
            self._seen = z.detach()
        return torch.cat([linear, contrasted], dim=1)

    @torch.no_grad()
    def take_in(self, weights: Tensor) -> None:
        """Learn from the features of the last forward pass in training; `weights`, (B, K), are of images in class means."""
        with torch.autocast(weights.device.type, enabled=False):
            added = weights.sum(0)
            self.counts.mul_(KEPT).add_(added)
            share = added / self.counts.clamp_min(1e-12)
            self.means.lerp_((weights / added.clamp_min(1e-12)).T @ self._seen, share[:, None])

    def forget(self) -> None:
        """Let the next images of a class replace its mean."""
        self.counts.zero_()
