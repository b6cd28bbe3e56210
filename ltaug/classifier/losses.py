"""Losses for long-tailed recognition that know whether an image is real or synthetic.

For an image of source s, p(y | x, s) is proportional to p(x | y) p(y | s). Adding the log prior of the image's own source
to its logits during training therefore leaves balanced logits, whatever the class sizes of either source.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.classifier.batches import as_weights
from ltaug.classifier.models import COSINE_SCALE
from ltaug.fields import settings_of
from ltaug.methods import LOSSES
from ltaug.options import ClassifierOptions

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def adjustment(class_counts: Tensor, *, tau: float) -> Tensor:
    """tau log p(y | s), which is added to the logits of an image of source s.

    Args:
        class_counts: (S, K), images per source and class, or any positive multiple of their shares.

    Returns:
        (S, K); -inf, which excludes the class, if a source has no image of it. All zero for tau = 0.
    """
    if tau == 0:
        return torch.zeros(class_counts.shape, device=class_counts.device)
    counts = class_counts.double()
    return (tau * (counts.log() - counts.sum(dim=1, keepdim=True).log())).float()


def cross_entropy(class_counts: Tensor) -> Loss:
    """Plain cross-entropy; the prior is not used."""
    return lambda logits, labels, sources: _per_image(logits, labels)


def logit_adjusted(class_counts: Tensor, *, adjust_tau: float = 1.0) -> Loss:
    """Logit-adjusted cross-entropy (Menon et al., ICLR 2021, eq. 10), each source with its own prior."""
    added = adjustment(class_counts, tau=adjust_tau)
    shares = class_counts / class_counts.sum(dim=1, keepdim=True).clamp_min(1)

    def loss(logits: Tensor, labels: Tensor, sources: Tensor) -> Tensor:
        prior = added[sources] if sources.ndim == 1 else adjustment(sources @ shares, tau=adjust_tau)
        return _per_image(logits + prior, labels)

    return loss


def balanced_softmax(class_counts: Tensor) -> Loss:
    """Balanced softmax (Ren et al., NeurIPS 2020, eq. 3): the log of the counts is added; tau is 1."""
    return logit_adjusted(class_counts)


def ldam(class_counts: Tensor, *, margin: float = 0.5) -> Loss:
    """Label-distribution-aware margin (LDAM; Cao et al., NeurIPS 2019, eq. 11-13), for logits of a cosine head.

    Cross-entropy after the cosine of the image's class is lowered by margin (n_min / n_c)^(1/4), with n_c the images of the
    class from all sources as they are drawn: under balanced sampling of real images alone all margins are equal. The loss of
    a mixed image is the mixture of its classes' losses.
    """
    counts = class_counts.sum(0).double()
    least = torch.where(counts > 0, counts, torch.inf).min()
    lowered = COSINE_SCALE * margin * torch.where(counts > 0, (least / counts.clamp_min(1)) ** 0.25, 0.0).float()

    def loss(logits: Tensor, labels: Tensor, sources: Tensor) -> Tensor:
        # The loss for class k is softplus(r_k - z_k + lowered_k), with r_k the logsumexp of all logits but z_k. Taking p_k out of
        # the whole sum is exact only where p_k is no more than half of it, so the largest logit gets its r_k from the others.
        top = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.argmax(1, keepdim=True), True)
        below = logits.masked_fill(top, -torch.inf).logsumexp(1, keepdim=True)
        without = logits.logsumexp(1, keepdim=True) + torch.log1p(-logits.softmax(1).masked_fill(top, 0.0))
        losses = F.softplus(torch.where(top, below, without) - logits + lowered)
        return (as_weights(labels, logits.shape[1]) * losses).sum(dim=1)

    return loss


def deferred_weights(class_counts: Tensor, *, drawn: Tensor, beta: float = 0.9999) -> Tensor:
    """Class weights (1 - beta) / (1 - beta^n_c) by effective numbers (Cui et al., CVPR 2019, eq. 2), (K,).

    Args:
        class_counts: n_c, (K,).
        drawn: (K,), how often each class is drawn, up to a factor; the weights' mean over the draws is 1.
    """
    weights = (1 - beta) / (1 - beta ** class_counts.clamp_min(1).double())
    return (weights * drawn.sum() / (weights * drawn).sum()).float()


def build_loss(options: ClassifierOptions, *, class_counts: Tensor) -> Loss:
    """The loss that options.loss names: (logits (B, K), labels, sources) -> loss per image (B,).

    Labels and sources are indices or weights, as in a Batch. A label must have a positive count in its source.

    Args:
        class_counts: (S, K) on the device of the logits; `sources` indexes its rows.

    Raises:
        OptionError: an unknown name.
    """
    loss: Loss = LOSSES.find(options.loss)(class_counts, **settings_of(options, "loss", options.loss))
    return loss


def _per_image(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each image, (B,)."""
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, reduction="none")
    log_shares = logits.log_softmax(dim=1)
    # Classes that are excluded have log-probability -inf, and with label smoothing a weight that is above 0 all the same.
    return -(labels * log_shares.masked_fill(log_shares.isneginf(), 0.0)).sum(dim=1)
