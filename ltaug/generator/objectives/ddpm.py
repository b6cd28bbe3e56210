"""The plain target of denoising diffusion: the noise that was added."""

from __future__ import annotations

from torch import Tensor

from ltaug.generator.objectives.terms import Batch, TargetRule


def ddpm(class_counts: Tensor) -> TargetRule:
    """The target rule `plain_target`."""
    return plain_target


def plain_target(batch: Batch) -> Tensor:
    """eps itself (Ho et al., NeurIPS 2020, L_simple)."""
    return batch.eps
