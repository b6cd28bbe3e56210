"""The stretches of a classifier's fit: joint training, then where `--refit` asks for it a second stage on part of the network.

The second stage spells what the field calls cRT (`--refit head --refit-sampling balanced --refit-loss ce`), MiSLAS (mixup, then
that with `--refit-smoothing`), H2T (MiSLAS with `--refit-fusion 0.25`), label over-smoothing (`--refit-smoothing 0.98` and
`--refit-smoothing-rarest 0.98`), and a last stage fitted again on real images alone. It is a share of the steps and adds none,
so arms with it and without it take equally many.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ltaug.classifier.batches import REAL, BatchPlan, Pool, plan_batches
from ltaug.classifier.contrastive import VMFHead
from ltaug.classifier.fusion import fused_logits
from ltaug.classifier.judge import Judge
from ltaug.classifier.losses import build_loss, deferred_weights
from ltaug.classifier.models import build_model, head_of, part_of
from ltaug.classifier.optimizers import build_optimizer
from ltaug.classifier.pretrained import Pretrained
from ltaug.classifier.step import Learner
from ltaug.classifier.teachers import Ensemble
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.methods import LOSSES
from ltaug.options import ClassifierOptions
from ltaug.runtime import Runtime, derive_seed


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `last` - 1 of a fit."""

    first: int
    last: int
    plan: BatchPlan
    options: ClassifierOptions  # loss, learning rate and schedule are this phase's
    trained: str = "all"  # the part of the network that learns (models.part_of)
    smoothing: tuple[float, ...] = (0.0, 0.0)
    donors: BatchPlan | None = None  # of the images whose features are fused into those of `plan`'s

    @property
    def reweighted_after(self) -> int:
        """The step after which classes are re-weighted (DRW)."""
        return self.first + math.ceil(self.options.reweight_from * (self.last - self.first))


def total_steps(train: ImageSet, options: ClassifierOptions) -> int:
    """`steps` if given, otherwise those of `epochs` passes over the real images: synthetic ones add none, so arms are equal."""
    return options.steps if options.steps is not None else math.ceil(options.epochs * len(train) / options.batch_size)


def phases_of(train: ImageSet, synthetic: ImageSet | None, options: ClassifierOptions, *, seed: int) -> list[Phase]:
    """The phases of a fit, in order; each has at least a step where there are two steps or more.

    Raises:
        OptionError: an unknown sampling.
    """
    total = total_steps(train, options)
    plan, smoothed = plan_batches(train, synthetic, options, seed=seed), (options.label_smoothing, options.label_smoothing)
    if options.refit == "none":
        return [Phase(0, total, plan, options, smoothing=smoothed)]
    own = dataclasses.replace(
        options,
        loss=options.refit_loss,
        sampling=options.refit_sampling,
        lr=options.refit_lr,
        schedule="cosine",
        warmup=0.0,
        reweight_from=1.0,
    )
    added = synthetic if options.refit_on == "merged" else None
    again, donors = plan_batches(train, added, own, seed=seed), None
    if options.refit_fusion:
        as_they_come = dataclasses.replace(own, sampling="natural")
        donors = plan_batches(train, added, as_they_come, seed=derive_seed(seed, "fusion"))
    first = total - max(1, round(options.refit_share * total))
    joint = [Phase(0, first, plan, options, smoothing=smoothed)] if first else []
    smoothing = (options.refit_smoothing_rarest, options.refit_smoothing)
    return [*joint, Phase(first, total, again, own, options.refit, smoothing, donors)]


def build_for(options: ClassifierOptions, train: ImageSet, pretrained: Pretrained | None = None) -> nn.Module:
    """The network that the options ask for, freshly initialised or with published weights; errors as `build_model`."""
    given: dict[str, Any] = {"head": LOSSES.about(options.loss).head, "drop_path": options.drop_path}
    if pretrained is not None:
        given |= {"weights": pretrained.path, "statistics": pretrained.statistics}
    network = build_model(options.model, num_classes=train.num_classes, image_shape=train.image_shape, **given)
    if options.tau_norm or (options.freeze == "body" and given["head"] == "linear"):
        head_of(network, name=options.model)
    if options.refit != "none":
        part_of(network, options.refit)
    return network


def class_weights(plan: BatchPlan, pool: Pool) -> Tensor:
    """Deferred re-weighting (DRW; Cao et al., NeurIPS 2019, section 3.2): each class's weight for its real images, (K,)."""
    real = pool.class_counts[REAL]
    return deferred_weights(real, drawn=plan.real.prior(real))


def build_learner(network: nn.Module, phase: Phase, pool: Pool, runtime: Runtime, *, teachers: Sequence[Judge] = ()) -> Learner:
    """The network with everything it learns with in a phase; its other parts are frozen, with their batch-norm statistics."""
    options, plan = phase.options, phase.plan
    _freeze(network, phase.trained)
    forward: Callable[[Tensor], Tensor] = network
    if phase.donors is not None:
        forward = partial(fused_logits, network=network, share=options.refit_fusion)
    return Learner(
        network=network,
        forward=torch.compile(forward) if runtime.compiled else forward,
        optimizer=build_optimizer(network, options),
        loss_per_image=build_loss(options, class_counts=_priors(plan, pool, options)),
        weights=_source_weights(plan, pool, options.synthetic_weight)
        .to(runtime.device)[:, None]
        .repeat(1, len(pool.class_counts[REAL])),
        sam_rho=options.sam_rho,
        teachers=_ensemble(teachers, options, plan),
        soft_shares=_soft_shares(options).to(runtime.device),
        smoothing=smoothing_of(pool.class_counts[REAL], phase.smoothing) if any(phase.smoothing) else None,
        runtime=runtime,
        head=next((module for module in network.modules() if isinstance(module, VMFHead)), None),
    )


def _freeze(network: nn.Module, trained: str) -> None:
    """Let the `trained` part of the network learn and nothing else."""
    network.eval().requires_grad_(False)
    network.zero_grad()
    for part in part_of(network, trained):
        part.train().requires_grad_(True)


def _priors(plan: BatchPlan, pool: Pool, options: ClassifierOptions) -> Tensor:
    """(2, K) how often each class is drawn from each source, up to a factor for each; what adjusted losses add the log of."""
    priors = pool.class_counts.clone()
    priors[REAL] = plan.real.prior(priors[REAL])
    if options.prior == "source" or not plan.synthetic:
        return priors
    drawn, weights = priors / priors.sum(dim=1, keepdim=True), _source_weights(plan, pool, options.synthetic_weight)
    share = _synthetic_share(plan, pool)
    merged = (1 - share) * weights[0] * drawn[0] + share * weights[1] * drawn[1]
    return merged.expand(2, -1)


def _synthetic_share(plan: BatchPlan, pool: Pool) -> float:
    per_batch = plan.synthetic_per_batch
    return plan.synthetic / len(pool.labels) if per_batch is None else per_batch / plan.batch_size


def _source_weights(plan: BatchPlan, pool: Pool, synthetic_weight: float) -> Tensor:
    """(weight of a real image, of a synthetic one), scaled so that their mean over training is 1."""
    share = _synthetic_share(plan, pool)
    return torch.tensor([1.0, synthetic_weight]) / (1 - share + share * synthetic_weight)


def _ensemble(teachers: Sequence[Judge], options: ClassifierOptions, plan: BatchPlan) -> Ensemble | None:
    """The teachers of a phase that has images which learn from them."""
    if options.distill == "none" or (options.distill == "synthetic" and not plan.synthetic):
        return None
    if not teachers:
        raise OptionError(f"--distill {options.distill} needs teachers; give classifier runs of the real images with --teacher")
    return Ensemble.of(teachers, temperature=options.distill_temperature, power=options.distill_power)


def _soft_shares(options: ClassifierOptions) -> Tensor:
    """(2,) the part of the loss of a real image, and of a synthetic one, that is distillation."""
    named = torch.tensor([options.distill in ("real", "all"), options.distill in ("synthetic", "all")])
    return named * options.distill_weight


def smoothing_of(class_counts: Tensor, ends: tuple[float, ...]) -> Tensor:
    """Label-aware smoothing (Zhong et al., CVPR 2021, eq. 8): the label weights (K, K) of an image of each class.

    Class c keeps 1 - e_c and shares e_c over all K, where e_c goes with sin(pi/2 (n_c - n_min) / (n_max - n_min)) from the first
    of `ends` for the rarest class to the second for the largest.
    """
    counts = class_counts.double()
    reach = ((counts - counts.min()) / (counts.max() - counts.min()).clamp_min(1)).mul(torch.pi / 2).sin()
    strength = (ends[0] + (ends[1] - ends[0]) * reach).float()[:, None]
    k = len(counts)
    return (1 - strength) * torch.eye(k, device=counts.device) + strength / k
