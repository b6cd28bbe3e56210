"""CORAL: contrastive regularisation of the bottleneck, so that classes do not share one representation."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives.terms import Batch

PROJECTION = 128
EXCLUDED = -1e9  # a logit that takes no part; finite, so that an image without company has gradients of 0, not NaN
# mode -> lambda, from w exp((1 - t/T) / decay) of every image and the temperature
STRENGTHS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "paper": lambda decayed, temperature: decayed,
    "released": lambda decayed, temperature: decayed.mean() * temperature,
}


def supervised_contrast(z: Tensor, classes: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """SupCon loss of every anchor (Khosla et al., NeurIPS 2020, eq. 2, L_out).

    Minus the mean over an anchor's positives of the log-softmax, over all other images, of cosine similarity / temperature.

    Args:
        z: (B, D) of unit length.
        classes: (B,); a negative class takes an image out, as anchor, as positive and as negative.

    Returns:
        (B,) losses, 0 where an image has no positive or was taken out, and (B,) bool, where it has one.
    """
    other = ~torch.eye(len(z), dtype=torch.bool, device=z.device) & (classes >= 0)
    positive = other & (classes[:, None] == classes)
    log_p = torch.log_softmax((z @ z.T / temperature).masked_fill(~other, EXCLUDED), dim=1)
    count = positive.sum(1)
    loss = -log_p.masked_fill(~positive, 0).sum(1) / count.clamp_min(1)
    return loss, count > 0


class CORAL(nn.Module):
    """Contrastive regulariser on the bottleneck (CORAL, NeurIPS 2025), with the projection head it trains.

    lambda(t) SupCon(z, y), z = L2-normalised Linear of the globally averaged bottleneck, lambda(t) = w exp((1 - t/T) / decay).
    The default temperature and decay are the paper's for CIFAR-100 with imbalance 100.

    One value per image: lambda_i times its anchor's loss, times B / (number of anchors that have a positive), and 0 for
    the others. So the mean over the batch, which the fit takes, is the mean over the anchors that have a positive.

    Images trained without their label take no part: the network was not told their class, and its features for them are
    those of the unconditional branch.

    Args:
        class_counts: not read.
        feature_channels: of the backbone's bottleneck.
        mode: "paper", or "released": the batch mean of lambda times the batch's SupCon, times the temperature once more,
            as the authors' code has it.
    """

    def __init__(
        self,
        class_counts: Tensor,
        feature_channels: int,
        *,
        weight: float = 0.01,
        temperature: float = 0.09,
        decay: float = 1.0,
        mode: str = "paper",
    ) -> None:
        super().__init__()
        self.head = nn.Linear(feature_channels, PROJECTION)
        self.weight, self.temperature, self.decay = weight, temperature, decay
        self.strength = STRENGTHS[mode]

    def represent(self, own: Denoised) -> Tensor:
        """z, (B, D) of unit length, in float32: similarities over 0.09 need more than 8 bits."""
        with torch.autocast(own.features.device.type, enabled=False):
            return F.normalize(self.head(own.features.float().mean((2, 3))), dim=1)

    def compare(self, represented: Tensor, batch: Batch) -> Tensor:
        with torch.autocast(represented.device.type, enabled=False):
            classes = torch.where(batch.labelled, batch.classes, -1)
            loss, valid = supervised_contrast(represented, classes, temperature=self.temperature)
        decayed = self.weight * torch.exp((1 - batch.time) / self.decay)
        return self.strength(decayed, self.temperature) * loss * len(loss) / valid.sum().clamp_min(1)
