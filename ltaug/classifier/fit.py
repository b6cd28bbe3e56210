"""Fitting a classifier to real images, alone or merged with synthetic ones."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltaug.classifier.augment import Augmentation, build_augmentation
from ltaug.classifier.averaging import Average, build_average
from ltaug.classifier.batches import REAL, Batch, BatchPlan, Pool, make_pool, to_input
from ltaug.classifier.judge import Judge
from ltaug.classifier.models import head_of, normalise_head
from ltaug.classifier.phases import build_for, build_learner, class_weights, phases_of
from ltaug.classifier.schedules import learning_rates
from ltaug.classifier.step import step_taker, warming_steps
from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError, MismatchError
from ltaug.files import checkpoint_steps, new_checkpoint, verify_directory
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


def fit_classifier(
    train: ImageSet,
    options: ClassifierOptions,
    *,
    synthetic: ImageSet | None = None,
    teachers: Sequence[Judge] = (),
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
        teachers: classifiers of the real images, from which images that `distill` names learn as well.
        seed: fixes weights, batches and augmentation; on the CPU, with equal threads, bit for bit.
        on_step: called about fifty times and after the last step with (steps done, all steps, {"loss", "lr"}).
        checkpoints: a directory that gets the state every `checkpoint_every` steps; a fit resumes from one it finds there.

    Raises:
        DataError: `train` is empty.
        MismatchError: `synthetic` has other classes or another image shape.
        OptionError: an unknown name, a model or augmentation that cannot take these images, or distillation without teachers.
        CorruptError: the checkpoint to resume from is damaged.
    """
    began = time.perf_counter()
    if len(train) == 0:
        raise DataError(f"{train.source} has no training images; give a dataset with at least one")
    if synthetic is not None:
        require_like(train, synthetic)
        synthetic = synthetic if len(synthetic) else None
    phases, augmentation = phases_of(train, synthetic, options, seed=seed), build_augmentation(options)
    pool = make_pool(train, synthetic, device=runtime.device)
    total = phases[-1].last
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "classifier", "init"))
        network = build_for(options, train).to(runtime.device)
        average = build_average(options, network, total)
        start, state = (0, None) if checkpoints is None else _resume(network, average, checkpoints, runtime)
        warmed_up = min(start + warming_steps(runtime), total)
        for phase in phases:
            if phase.last <= start:
                continue
            learner = build_learner(network, phase, pool, runtime, teachers=teachers)
            if state is not None and phase.first < start:
                learner.optimizer.load_state_dict(state)
            take_step, own, begin = step_taker(learner), phase.options, max(start, phase.first)
            rates = learning_rates(phase.last - phase.first, lr=own.lr, schedule=own.schedule, warmup=own.warmup)
            for done, batch in enumerate(batches_of(phase.plan, pool, augmentation, begin, phase.last), begin + 1):
                if done - 1 == max(begin, phase.reweighted_after):
                    learner.weights[REAL] *= class_weights(phase.plan, pool)
                rate = rates[done - 1 - phase.first]
                loss = take_step(batch, rate)
                if average is not None:
                    average.update(done)
                if done == warmed_up:
                    runtime.synchronize()
                    warm = time.perf_counter()
                if on_step is not None and (done % max(1, total // LOGS) == 0 or done == total):
                    on_step(done, total, {"loss": float(loss), "lr": rate})
                if checkpoints is not None and done % checkpoint_every == 0 and done < total:
                    with new_checkpoint(checkpoints, done, kept=1) as path:
                        held = {"model": network.state_dict(), "optimizer": learner.optimizer.state_dict()}
                        torch.save(held | {"average": average and average.weights}, path / STATE_FILE)
        if average is not None:
            first = max(phases[-1].first, total - min(total // 20 + 1, STATISTICS_BATCHES))
            with runtime.autocast():
                average.settle(learner.passed(batches_of(phases[-1].plan, pool, augmentation, first, total)))
        if options.tau_norm:
            normalise_head(head_of(network, name=options.model), tau=options.tau_norm)
        runtime.synchronize()
    return network.eval().requires_grad_(True), Seconds(warm - began, time.perf_counter() - warm)


def _resume(
    network: nn.Module, average: Average | None, checkpoints: Path, runtime: Runtime
) -> tuple[int, dict[str, Any] | None]:
    """Load the newest checkpoint, if there is one; returns the steps that are done and the optimizer's state after them."""
    step = max(checkpoint_steps(checkpoints), default=0)
    if not step:
        return 0, None
    newest = checkpoints / f"step-{step}"
    verify_directory(newest)
    state = torch.load(newest / STATE_FILE, map_location=runtime.device, weights_only=True)
    network.load_state_dict(state["model"])
    if average is not None:
        average.weights = state["average"]
    return step, state["optimizer"]


def seconds_per_step(train: ImageSet, options: ClassifierOptions, runtime: Runtime, *, steps: int = 10) -> float:
    """Seconds per training step, measured on this machine after the warm-up steps."""
    measured = dataclasses.replace(options, steps=warming_steps(runtime) + steps)
    return fit_classifier(train, measured, seed=0, runtime=runtime)[1].steps / steps


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
