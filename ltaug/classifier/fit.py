"""Fitting a classifier to real images, alone or merged with synthetic ones."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltaug.checkpoints import new_checkpoint, newest_checkpoint, read_state, write_state
from ltaug.classifier.augment import Augmentation, build_augmentation
from ltaug.classifier.averaging import Average, build_average
from ltaug.classifier.batches import REAL, Batch, BatchPlan, Pool, make_pool, to_input
from ltaug.classifier.fusion import with_donors
from ltaug.classifier.judge import Judge
from ltaug.classifier.models import head_of, normalise_head
from ltaug.classifier.phases import Phase, build_for, build_learner, class_weights, phases_of
from ltaug.classifier.pretrained import Pretrained
from ltaug.classifier.probe import Probe, feature_pool
from ltaug.classifier.schedules import learning_rates
from ltaug.classifier.step import step_taker, warming_steps
from ltaug.data.imageset import ImageSet
from ltaug.disk import require_space
from ltaug.errors import DataError, MismatchError, OptionError
from ltaug.files import verify_directory
from ltaug.options import ClassifierOptions
from ltaug.runtime import Runtime, Seconds, derive_seed, seed_streams
from ltaug.signals import stop_on_signal

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
    pretrained: Pretrained | None = None,
    seed: int,
    runtime: Runtime,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
    checkpoint_every: int = CHECKPOINT_EVERY,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[nn.Module, Seconds]:
    """Train a classifier; returns it in evaluation mode, on the runtime's device, and how long that took.

    The loss of a batch is sum(w l) / E[sum(w)] with w = `synthetic_weight` for synthetic images and 1 for real ones:
    the plain mean for a weight of 1, and independent of how many of each a batch happens to hold. A loss that is
    adjusted for the class prior uses the prior of each source (uniform for real images under balanced sampling).
    After the share `reweight_from` of all steps, w of a real image is multiplied by its class's weight (DRW). At the end the
    weights become their average if one is asked for, and then the last layer is tau-normalised. With `freeze` the network that is
    returned has the body it started with, bit for bit.

    Args:
        synthetic: images to merge with the real ones; an empty set is the same as None.
        teachers: classifiers of the real images, from which images that `distill` names learn as well.
        pretrained: the weights to start from, but for the last layer [default: random ones].
        seed: fixes weights, batches and augmentation; on the CPU, with equal threads, bit for bit.
        on_step: called about fifty times and after the last step with (steps done, all steps, {"loss", "lr"}).
        checkpoints: a directory that gets the state every `checkpoint_every` steps; a fit resumes from one it finds there.
        tell: hears of features that are computed, and of damaged checkpoints, which are not used.

    Raises:
        DataError: `train` is empty.
        MismatchError: `synthetic` has other classes or another image shape.
        OptionError: an unknown name, a model or augmentation that cannot take these images, distillation without teachers,
            weights of another network, or a loss that stops being finite.
        CorruptError: the published weights are damaged.
        ResourceError: the disk has too little space for `checkpoints`.
        KeyboardInterrupt: on Ctrl-C or another signal to stop, after the state was written where there are `checkpoints`.
    """
    began = time.perf_counter()
    synthetic = _to_merge(train, synthetic)
    phases, augmentation = phases_of(train, synthetic, options, seed=seed), build_augmentation(options)
    pool = make_pool(train, synthetic, device=runtime.device)
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "classifier", "init"))
        network = learned = build_for(options, train, pretrained).to(runtime.device)
        if options.freeze == "body":
            tell(f"Computing the features of {len(pool.labels)} images once.")
            learned, pool = Probe(network), feature_pool(pool, network, mirrored="flip" in options.augment, runtime=runtime)
        fitted = _Fitted(learned, build_average(options, learned, phases[-1].last), pool, augmentation, runtime)
        warm = _train(fitted, phases, teachers, on_step, checkpoints, checkpoint_every, tell)
        _settle(fitted, phases[-1], teachers)
        runtime.synchronize()
    return network.eval().requires_grad_(True), Seconds(warm - began, time.perf_counter() - warm)


@dataclass(frozen=True)
class _Fitted:
    """A network that is being fitted, and what all of its phases share."""

    network: nn.Module
    average: Average | None
    pool: Pool
    augmentation: Augmentation
    runtime: Runtime


def _to_merge(train: ImageSet, synthetic: ImageSet | None) -> ImageSet | None:
    """The synthetic images that can be merged with the real ones, or None; DataError or MismatchError as `fit_classifier`."""
    if len(train) == 0:
        raise DataError(f"{train.source} has no training images; give a dataset with at least one")
    if synthetic is None:
        return None
    require_like(train, synthetic)
    return synthetic if len(synthetic) else None


def _train(
    fitted: _Fitted,
    phases: Sequence[Phase],
    teachers: Sequence[Judge],
    on_step: OnStep | None,
    checkpoints: Path | None,
    checkpoint_every: int,
    tell: Callable[[str], None],
) -> float:
    """Take all steps that no checkpoint has; returns when the first of them had warmed up, by `time.perf_counter`.

    The loss is looked at as often as it is shown and before a checkpoint; OptionError where it is not finite.
    """
    runtime, total = fitted.runtime, phases[-1].last
    start, state = (0, None) if checkpoints is None else _resume(fitted, checkpoints, tell)
    if checkpoints is not None and state is None:
        require_space(checkpoints.parent, disk_bytes(sum(p.numel() for p in fitted.network.parameters())))
    warmed_up, warm = min(start + warming_steps(runtime), total), time.perf_counter()
    with stop_on_signal() as stop:
        for done, rate, loss, optimizer in _steps(fitted, phases, teachers, start, state):
            if fitted.average is not None:
                fitted.average.update(done)
            if done == warmed_up:
                runtime.synchronize()
                warm = time.perf_counter()
            stopped = stop.requested
            shown = done % max(1, total // LOGS) == 0 or done == total
            kept = checkpoints is not None and (stopped or (done % checkpoint_every == 0 and done < total))
            if (shown or kept) and not math.isfinite(loss):
                lr = phases[0].options.lr
                raise OptionError(
                    f"the classifier diverged with --lr {lr:g}: its loss is not finite at step {done}; use a smaller --lr"
                )
            if on_step is not None and shown:
                on_step(done, total, {"loss": float(loss), "lr": rate})
            if checkpoints is not None and kept:
                _save(fitted, optimizer, checkpoints, done)
            if stopped:
                break
    if stop.requested:
        raise KeyboardInterrupt
    return warm


def _steps(
    fitted: _Fitted, phases: Sequence[Phase], teachers: Sequence[Judge], start: int, state: dict[str, Any] | None
) -> Iterator[tuple[int, float, Tensor, torch.optim.Optimizer]]:
    """Take the steps after the first `start`, phase by phase: steps done, learning rate, loss and optimizer of each.

    `state` is the optimizer's after `start` steps, None for 0.
    """
    pool = fitted.pool
    for phase in phases:
        if phase.last <= start:
            continue
        learner = build_learner(fitted.network, phase, pool, fitted.runtime, teachers=teachers)
        if state is not None and phase.first < start:
            learner.optimizer.load_state_dict(state)
        take_step, own, begin = step_taker(learner), phase.options, max(start, phase.first)
        rates = learning_rates(phase.last - phase.first, lr=own.lr, schedule=own.schedule, warmup=own.warmup)
        for done, batch in enumerate(_batches(fitted, phase, begin, phase.last), begin + 1):
            if done - 1 == max(begin, phase.reweighted_after):
                learner.weights[REAL] *= class_weights(phase.plan, pool)
            rate = rates[done - 1 - phase.first]
            yield done, rate, take_step(batch, rate), learner.optimizer


def _batches(fitted: _Fitted, phase: Phase, start: int, stop: int) -> Iterator[Batch]:
    """The batches of a phase's steps `start` to `stop` - 1, with their donors where it has some."""
    batches = batches_of(phase.plan, fitted.pool, fitted.augmentation, start, stop)
    if phase.donors is None:
        return batches
    return with_donors(batches, batches_of(phase.donors, fitted.pool, fitted.augmentation, start, stop))


def _settle(fitted: _Fitted, last: Phase, teachers: Sequence[Judge]) -> None:
    """Turn the weights after the last step into those that a fit ends with: their average, with a tau-normalised last layer."""
    if fitted.average is not None:
        first = max(last.first, last.last - min(last.last // 20 + 1, STATISTICS_BATCHES))
        learner = build_learner(fitted.network, last, fitted.pool, fitted.runtime, teachers=teachers)
        with fitted.runtime.autocast():
            fitted.average.settle(learner.passed(batches_of(last.plan, fitted.pool, fitted.augmentation, first, last.last)))
    if last.options.tau_norm:
        normalise_head(head_of(fitted.network, name=last.options.model), tau=last.options.tau_norm)


def _save(fitted: _Fitted, optimizer: torch.optim.Optimizer, checkpoints: Path, done: int) -> None:
    """Write the state after `done` steps."""
    held = {"model": fitted.network.state_dict(), "optimizer": optimizer.state_dict()}
    with new_checkpoint(checkpoints, done) as path:
        write_state(held | {"average": fitted.average and fitted.average.weights}, path / STATE_FILE)


def _resume(fitted: _Fitted, checkpoints: Path, tell: Callable[[str], None]) -> tuple[int, dict[str, Any] | None]:
    """Load the newest checkpoint, if there is one; returns the steps that are done and the optimizer's state after them."""

    def read(path: Path) -> dict[str, Any]:
        verify_directory(path, (STATE_FILE,))
        return read_state(path / STATE_FILE, ("model", "optimizer", "average"), device=fitted.runtime.device)

    step, state = newest_checkpoint(checkpoints, read, tell)
    if not step:
        return 0, None
    fitted.network.load_state_dict(state["model"])
    if fitted.average is not None:
        fitted.average.weights = state["average"]
    return step, state["optimizer"]


def disk_bytes(parameters: int) -> int:
    """What a fit leaves on the disk, in float32: the weights, and a checkpoint of weights, up to two moments and the average."""
    return 4 * 5 * parameters


def seconds_per_step(train: ImageSet, options: ClassifierOptions, runtime: Runtime, *, steps: int = 10) -> float:
    """Seconds per training step, measured on this machine after the warm-up steps, and after features where they are computed."""
    measured = dataclasses.replace(options, steps=warming_steps(runtime) + steps)
    few = train.take(np.arange(min(len(train), options.batch_size))) if options.freeze == "body" else train
    return fit_classifier(few, measured, seed=0, runtime=runtime)[1].steps / steps


def batches_of(plan: BatchPlan, pool: Pool, augmentation: Augmentation, start: int, stop: int) -> Iterator[Batch]:
    """The batches of steps `start` to `stop` - 1; each is the same wherever a fit starts.

    Torch's global generators are seeded before each one, for its augmentation and for what its step draws.
    """
    for step, (index, images) in enumerate(pool.images.batches(_indices(plan, start, stop)), start):
        seed_streams(derive_seed(plan.seed, "classifier", step))
        shown = images if images.is_floating_point() else to_input(images)  # features are network input as they are
        drawn = zip(*(torch.split(part, plan.batch_size) for part in (index, shown)), strict=True)  # the batch, any donors
        batch = augmentation(*(Batch(x, pool.labels[n], pool.sources[n], pool.class_counts) for n, x in drawn))
        yield batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))


def _indices(plan: BatchPlan, start: int, stop: int) -> Iterator[Tensor]:
    """The indices of each batch, planned PLAN_STEPS at a time."""
    for first in range(start, stop, PLAN_STEPS):
        yield from torch.from_numpy(plan.indices(first, min(PLAN_STEPS, stop - first))).unbind()
