"""Distillation: soft labels by classifiers of the real images, which see every batch as its student does (Hinton et al., 2015).

They see the augmented image, since what they say of the image as it is stored is close to its hard label where they were trained
on it (Beyer et al., CVPR 2022, section 3, measure the difference).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.classifier.judge import Judge


@dataclass(frozen=True)
class Ensemble:
    """Teachers in evaluation mode, as one: the mean of their softmax(z / T) to a power, normalised.

    A power below 1 is DiVE's (He et al., ICCV 2021, eq. 6). A temperature towards 0 makes the mean one of votes.
    """

    members: Sequence[nn.Module]
    log_priors: Tensor  # (J, K), what each one's logits hold of the class prior (Judge.log_prior), which is taken out
    temperature: float
    power: float

    @classmethod
    def of(cls, teachers: Sequence[Judge], *, temperature: float, power: float) -> Ensemble:
        priors = torch.stack([torch.from_numpy(teacher.log_prior) for teacher in teachers])
        members = [teacher.model.requires_grad_(False) for teacher in teachers]
        return cls(members, priors.to(teachers[0].runtime.device), temperature, power)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Soft labels (B, K) of a batch of network input (B, C, H, W)."""
        z = torch.stack([member(images).float() for member in self.members])
        mean = ((z - self.log_priors[:, None]) / self.temperature).softmax(dim=2).mean(dim=0)
        return mean if self.power == 1 else mean.pow(self.power) / mean.pow(self.power).sum(dim=1, keepdim=True)


def distillation(logits: Tensor, soft: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(soft || softmax(logits / T)) of each image, (B,) (Hinton et al., 2015, section 2); soft labels are (B, K)."""
    student = (logits / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(student, soft, reduction="none").sum(dim=1)
