"""Fitting a classifier to real images, alone or merged with synthetic ones."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ltaug.classifier.augment import Augmentation, build_augmentation
from ltaug.classifier.averaging import Average, build_average
from ltaug.classifier.batches import REAL, Batch, BatchPlan, Pool, make_pool, plan_batches, to_input
from ltaug.classifier.losses import build_loss, deferred_weights
from ltaug.classifier.models import build_model, head_of, normalise_head
from ltaug.classifier.schedules import learning_rates
from ltaug.classifier.step import Learner, step_taker, warming_steps
from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError, MismatchError
from ltaug.files import checkpoint_steps, new_checkpoint, verify_directory
from ltaug.methods import LOSSES
from ltaug.options import ClassifierOptions
from ltaug.runtime import Runtime, Seconds, derive_seed

OnStep = Callable[[int, int, Mapping[str, float]], None]

PLAN_STEPS = 256
LOGS = 50
CHECKPOINT_EVERY = 5000
STATISTICS_BATCHES = 100  # of training that give averaged weights their batch-norm statistics, at most
STATE_FILE = "state.pt"


def require_like(train: ImageSet, other: ImageSet) -> None:
    """Raise MismatchError if the other images have other classes or another shape than the training images."""
    train.require_same_classes(other.class_names, what=other.source)
    if other.image_shape != train.image_shape:
        raise MismatchError(
            f"{other.source} has images of {other.image_shape} and {train.source} of {train.image_shape} "
            "(channels, height, width); use the same dataset and --image-size for both"
        )


def total_steps(train: ImageSet, options: ClassifierOptions) -> int:
    """`steps` if given, otherwise those of `epochs` passes over the real images: synthetic ones add none, so arms are equal."""
    return options.steps if options.steps is not None else math.ceil(options.epochs * len(train) / options.batch_size)


def fit_classifier(
    train: ImageSet,
    options: ClassifierOptions,
    *,
    synthetic: ImageSet | None = None,
    seed: int,
    runtime: Runtime,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> tuple[nn.Module, Seconds]:
    """Train a classifier from scratch; returns it in evaluation mode, on the runtime's device, and how long that took.

    The loss of a batch is sum(w l) / E[sum(w)] with w = `synthetic_weight` for synthetic images and 1 for real ones:
    the plain mean for a weight of 1, and independent of how many of each a batch happens to hold. A loss that is
    adjusted for the class prior uses the prior of each source (uniform for real images under balanced sampling).
    After the share `reweight_from` of all steps, w of a real image is multiplied by its class's weight (DRW). At the end the
    weights become their average if one is asked for, and then the last layer is tau-normalised.

    Args:
        synthetic: images to merge with the real ones; an empty set is the same as None.
        seed: fixes weights, batches and augmentation; on the CPU, with equal threads, bit for bit.
        on_step: called about fifty times and after the last step with (steps done, all steps, {"loss", "lr"}).
        checkpoints: a directory that gets the state every `checkpoint_every` steps; a fit resumes from one it finds there.

    Raises:
        DataError: `train` is empty.
        MismatchError: `synthetic` has other classes or another image shape.
        OptionError: an unknown name, or a model or augmentation that cannot take these images.
        CorruptError: the checkpoint to resume from is damaged.
    """
    began = time.perf_counter()
    if len(train) == 0:
        raise DataError(f"{train.source} has no training images; give a dataset with at least one")
    if synthetic is not None:
        require_like(train, synthetic)
        synthetic = synthetic if len(synthetic) else None
    plan, augmentation = plan_batches(train, synthetic, options, seed=seed), build_augmentation(options)
    pool = make_pool(train, synthetic, device=runtime.device)
    total = total_steps(train, options)
    rates = learning_rates(total, lr=options.lr, schedule=options.schedule, warmup=options.warmup)
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "classifier", "init"))
        learner = build_learner(train, plan, pool, options, runtime)
        average = build_average(options, learner.network, total)
        start = 0 if checkpoints is None else _resume(learner, average, checkpoints)
        reweighted_after = max(start, math.ceil(options.reweight_from * total))
        take_step, warmed_up = step_taker(learner), min(start + warming_steps(runtime), total)
        for done, batch in enumerate(batches_of(plan, pool, augmentation, start, total), start + 1):
            if done - 1 == reweighted_after:
                learner.weights[REAL] *= _class_weights(plan, pool)
            loss = take_step(batch, rates[done - 1])
            if average is not None:
                average.update(done)
            if done == warmed_up:
                runtime.synchronize()
                warm = time.perf_counter()
            if on_step is not None and (done % max(1, total // LOGS) == 0 or done == total):
                on_step(done, total, {"loss": float(loss), "lr": rates[done - 1]})
            if checkpoints is not None and done % checkpoint_every == 0 and done < total:
                with new_checkpoint(checkpoints, done, kept=1) as path:
                    state = {"model": learner.network.state_dict(), "optimizer": learner.optimizer.state_dict()}
                    torch.save(state | {"average": average and average.weights}, path / STATE_FILE)
        if average is not None:
            first = total - min(total // 20 + 1, STATISTICS_BATCHES)
            with runtime.autocast():
                average.settle(batches_of(plan, pool, augmentation, first, total))
        if options.tau_norm:
            normalise_head(head_of(learner.network, name=options.model), tau=options.tau_norm)
        runtime.synchronize()
    return learner.network.eval(), Seconds(warm - began, time.perf_counter() - warm)


def _resume(learner: Learner, average: Average | None, checkpoints: Path) -> int:
    """Load the newest checkpoint, if there is one; returns the steps that are done."""
    step = max(checkpoint_steps(checkpoints), default=0)
    if step:
        newest = checkpoints / f"step-{step}"
        verify_directory(newest)
        state = torch.load(newest / STATE_FILE, map_location=learner.runtime.device, weights_only=True)
        learner.network.load_state_dict(state["model"])
        learner.optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.weights = state["average"]
    return step


def seconds_per_step(train: ImageSet, options: ClassifierOptions, runtime: Runtime, *, steps: int = 10) -> float:
    """Seconds per training step, measured on this machine after the warm-up steps."""
    measured = dataclasses.replace(options, steps=warming_steps(runtime) + steps)
    return fit_classifier(train, measured, seed=0, runtime=runtime)[1].steps / steps


def build_for(options: ClassifierOptions, train: ImageSet) -> nn.Module:
    """The network that the options ask for, freshly initialised; OptionError as `build_model`."""
    head = LOSSES.about(options.loss).head
    network = build_model(options.model, num_classes=train.num_classes, image_shape=train.image_shape, head=head)
    if options.tau_norm:
        head_of(network, name=options.model)
    return network


def build_learner(train: ImageSet, plan: BatchPlan, pool: Pool, options: ClassifierOptions, runtime: Runtime) -> Learner:
    """The untrained network, from torch's global generator, and everything it learns with."""
    network = build_for(options, train).to(runtime.device)
    priors = pool.class_counts.clone()
    priors[REAL] = plan.real.prior(priors[REAL])
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.momentum > 0,
        fused=True,
    )
    return Learner(
        network=network,
        forward=torch.compile(network) if runtime.compiled else network,
        optimizer=optimizer,
        loss_per_image=build_loss(options, class_counts=priors),
        weights=_source_weights(plan, pool, options.synthetic_weight).to(runtime.device)[:, None].repeat(1, train.num_classes),
        sam_rho=options.sam_rho,
        runtime=runtime,
    )


def _source_weights(plan: BatchPlan, pool: Pool, synthetic_weight: float) -> Tensor:
    """(weight of a real image, of a synthetic one), scaled so that their mean over training is 1."""
    per_batch = plan.synthetic_per_batch
    share = plan.synthetic / len(pool.labels) if per_batch is None else per_batch / plan.batch_size
    return torch.tensor([1.0, synthetic_weight]) / (1 - share + share * synthetic_weight)


def _class_weights(plan: BatchPlan, pool: Pool) -> Tensor:
    """Deferred re-weighting (DRW; Cao et al., NeurIPS 2019, section 3.2): each class's weight for its real images, (K,)."""
    real = pool.class_counts[REAL]
    return deferred_weights(real, drawn=plan.real.prior(real))


def batches_of(plan: BatchPlan, pool: Pool, augmentation: Augmentation, start: int, stop: int) -> Iterator[Batch]:
    """The batches of steps `start` to `stop` - 1; each is the same wherever a fit starts.

    Torch's global generators are seeded before each one, for its augmentation and for what its step draws.
    """
    for step, (index, images) in enumerate(pool.images.batches(_indices(plan, start, stop)), start):
        torch.manual_seed(derive_seed(plan.seed, "classifier", step))
        drawn = zip(*(torch.split(part, plan.batch_size) for part in (index, images)), strict=True)  # the batch, any donors
        batch = augmentation(*(Batch(to_input(x), pool.labels[n], pool.sources[n], pool.class_counts) for n, x in drawn))
        yield batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))


def _indices(plan: BatchPlan, start: int, stop: int) -> Iterator[Tensor]:
    """The indices of each batch, planned PLAN_STEPS at a time."""
    for first in range(start, stop, PLAN_STEPS):
        yield from torch.from_numpy(plan.indices(first, min(PLAN_STEPS, stop - first))).unbind()
