"""The fit-generator stage: train with checkpoints, continue where it was interrupted, show samples, fill the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ltaug.checkpoints import newest_checkpoint
from ltaug.data.groups import by_frequency
from ltaug.data.imageset import ImageSet
from ltaug.data.sheet import contact_sheet
from ltaug.disk import require_space
from ltaug.distributed.group import SOLO, Group, stop_together
from ltaug.errors import DataError, OptionError
from ltaug.files import write_bytes
from ltaug.generator.backbones.pretrained import PretrainedNetwork
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.finetune import carry, match_classes, require_same_shape
from ltaug.generator.fit import build_trainee, fit
from ltaug.generator.generate import Generator, generate
from ltaug.generator.objectives.terms import Judged
from ltaug.generator.pipeline import Pipeline
from ltaug.generator.step import prepare
from ltaug.generator.trainee import (
    CHECKPOINTS,
    Trainee,
    disk_bytes,
    final_weights,
    learning,
    read_checkpoint,
    restore,
    save_checkpoint,
)
from ltaug.options import GeneratorOptions
from ltaug.runs import Event, Run
from ltaug.runtime import Runtime, derive_seed

SAMPLES = "samples.png"
PREVIEWS = "previews"
LOGS = 50
PATIENCE = 10  # steps in a row without finite gradients, after which they are not waited for
HALVED = "lr_halved_at"  # the fact that a fit diverged: the step


def run_generator(
    train: ImageSet,
    options: GeneratorOptions,
    *,
    run: Run,
    runtime: Runtime,
    seed: int,
    source: Generator | None = None,
    judged: Judged | None = None,
    pipeline: Pipeline | None = None,
    group: Group = SOLO,
    preview: int | None = None,
) -> None:
    """Fill `run` with checkpoints/step-N and samples.png, and finish it.

    Args:
        source: a generator to start from, of the network that `options` describe; the steps are further ones, with
            batches and noise drawn anew.
        judged: the real images in the features of judges, if the objective needs them.
        pipeline: the one that --pretrained or --latent names.
        group: the processes that share every batch; `run` is open in rank 0, which alone reads and writes it.
        preview: steps between sheets of samples in previews/, which the run can do without; None makes none.

    Raises:
        DataError: the training set is empty.
        MismatchError: the source's images have another shape, or none of its classes is among those of the training set.
        OptionError: a way to compute the fit that its objective does not allow, or a learning rate at which it diverges.
        ResourceError: the disk has too little space, or the memory does not hold a micro-batch of one image.
        KeyboardInterrupt: on Ctrl-C or another signal to stop in any process, after a checkpoint was written.
    """
    if len(train) == 0:
        raise DataError(f"{train.source} has no training images; give a dataset with at least one")
    build = partial(build_trainee, train=train, seed=seed, device=runtime.device, judged=judged, pipeline=pipeline)
    sheet = partial(_sheet, train, runtime=runtime, seed=seed)

    def show(step: int, trainee: Trainee) -> None:
        if preview is not None and step % preview == 0 and group.place.leads:
            with group.unhurried:
                file = run.path / PREVIEWS / f"step-{step}.png"
                file.parent.mkdir(exist_ok=True)
                write_bytes(file, sheet(trainee, rows=8, columns=4))
            run.tell(Event(run.record["label"], f"Samples after {step} steps are in {file}.", step, picture=file))

    trainee = _fitted(train, options, source, build, show, run=run, runtime=runtime, group=group, seed=seed)
    if group.place.leads:
        write_bytes(run.path / SAMPLES, sheet(trainee))
        run.finish([final_weights(options.steps), SAMPLES])


def _fitted(
    train: ImageSet,
    options: GeneratorOptions,
    source: Generator | None,
    build: Callable[[GeneratorOptions], Trainee],
    show: Callable[[int, Trainee], None],
    *,
    run: Run,
    runtime: Runtime,
    group: Group,
    seed: int,
) -> Trainee:
    """The trainee after its last step. A fit that stops being finite goes back to its last checkpoint, once, at half the rate.

    Raises:
        OptionError: it is not finite at half the rate either.
    """
    draws = seed if source is None else derive_seed(seed, "after", source.steps)
    while True:
        halved = HALVED in run.record["facts"]
        own = dataclasses.replace(options, lr=options.lr / 2) if halved else options
        trainee = prepare(build(own), own, runtime, group)
        run.note(
            class_names=train.class_names,
            image_shape=train.image_shape,
            class_counts=train.class_counts.tolist(),
            parameters=sum(p.numel() for p in trainee.denoiser.parameters()),
        )
        started = _started(trainee, train, own, run=run) if source is None else _start_from(source, trainee, train, own, run=run)
        start, state = group.led(lambda: newest_checkpoint(run.path / CHECKPOINTS, read_checkpoint, run.event))
        if state:
            restore(trainee, state)
            started = [f"Continuing from step {start} of {options.steps}."]
        elif group.place.leads:
            require_space(run.path, disk_bytes(sum(p.numel() for p in learning(trainee.denoiser))))
        for sentence in started:
            run.event(sentence)
        lost = _train(trainee, train, own, show, run=run, runtime=runtime, group=group, seed=draws, start=start)
        if lost is None:
            return trainee
        if halved:
            raise OptionError(
                f"the fit diverged: at step {lost} the last {PATIENCE} or more gradients were not finite, at --lr {options.lr:g} "
                f"and from the last checkpoint at half of it; give a smaller --lr, with another --out"
            )
        run.note(**{HALVED: lost})
        run.save()
        run.event(f"The fit diverged before step {lost}: it goes on from its last checkpoint at half of --lr {options.lr:g}.")


def _train(
    trainee: Trainee,
    train: ImageSet,
    options: GeneratorOptions,
    show: Callable[[int, Trainee], None],
    *,
    run: Run,
    runtime: Runtime,
    group: Group,
    seed: int,
    start: int,
) -> int | None:
    """The fit with its checkpoints and figures; KeyboardInterrupt, after a checkpoint, where any process was told to stop.

    Returns:
        None, or the step at which the gradients had not been finite for PATIENCE steps.
    """
    every = max(1, options.steps // LOGS)
    stopped, lost = False, None
    with stop_together(group) as stop:

        def after_step(step: int, terms: dict[str, Tensor]) -> bool:
            nonlocal stopped, lost
            stopped = group.any(stop.requested)
            due = step % options.checkpoint_every == 0 or step == options.steps or stopped
            skipped = int(trainee.skipped) if due or step % every == 0 else 0
            if skipped >= PATIENCE:
                lost = step
                return False
            if step % every == 0 or step == options.steps:
                means = group.sum(torch.stack(list(terms.values()))).tolist()
                figures = {name: round(mean, 5) for name, mean in zip(terms, means, strict=True)}
                run.event("training the generator", step, options.steps, **figures)
            if due and group.place.leads and (not skipped or stopped or step == options.steps):
                with group.unhurried:
                    save_checkpoint(run.path / CHECKPOINTS, step, trainee)
            show(step, trainee)
            return not stopped

        took = fit(trainee, train, options, runtime, seed=seed, start=start, group=group, after_step=after_step, tell=run.event)
        group.wait()  # until rank 0 has written what it has to
    run.timing("warm-up", took.warm_up)
    run.timing("fit", took.steps)
    run.save()
    if stopped or stop.requested:
        raise KeyboardInterrupt
    return lost


def _started(trainee: Trainee, train: ImageSet, options: GeneratorOptions, *, run: Run) -> list[str]:
    """Note how much of a published network learns, and which classes start from its own rows, and say it in a sentence."""
    network = trainee.denoiser.backbone
    if not isinstance(network, PretrainedNetwork):
        return []
    carried = match_classes(network.carried, train.class_names)
    learns = sum(p.numel() for p in learning(network))
    run.note(carried=dataclasses.asdict(carried), parameters_learning=learns)
    return [f"Starting from {options.pretrained}, of which {options.tune} trains {learns:,} parameters: {carried}."]


def _start_from(source: Generator, trainee: Trainee, train: ImageSet, options: GeneratorOptions, *, run: Run) -> list[str]:
    """Carry the source's weights over, note what becomes of the classes and how much stays, and say it in sentences."""
    name = str(source.path)
    require_same_shape(source.image_shape, train.image_shape, name=name)
    carried = match_classes(source.class_names, train.class_names)
    carry(source.denoiser, source.class_names, trainee, train.class_names, steps=source.steps, name=name)
    left = trainee.ema.share_left(options.steps)
    run.note(carried=dataclasses.asdict(carried), source_share=round(left, 4))
    said = [f"Starting from {name} after {source.steps} steps: {carried}."]
    if left > 0.5:
        said.append(f"After {options.steps} steps the average is still {left:.0%} {name}: more --steps or a lower --ema help.")
    return said


def _sheet(train: ImageSet, trainee: Trainee, *, rows: int = 20, columns: int = 8, runtime: Runtime, seed: int) -> bytes:
    """A picture of so many samples of each class, a row a class, most frequent first; as PNG. Their noise is always the same."""
    denoiser, shown = trainee.ema.module, by_frequency(train.class_counts)[:rows]
    assert isinstance(denoiser, Denoiser)
    keys = [(c, i) for c in shown for i in range(columns)]
    images = generate(denoiser, keys, image_shape=train.image_shape, seed=seed, runtime=runtime, batch_size=len(keys))
    return contact_sheet(np.split(images, len(shown)))


def seconds_per_step(
    train: ImageSet,
    options: GeneratorOptions,
    runtime: Runtime,
    *,
    judged: Judged | None = None,
    pipeline: Pipeline | None = None,
    steps: int = 3,
) -> float:
    """Measured on this machine, after one step that warms up."""
    made = build_trainee(options, train, seed=0, device=runtime.device, judged=judged, pipeline=pipeline)
    trainee = prepare(made, options, runtime)
    return fit(trainee, train, dataclasses.replace(options, steps=steps + 1), runtime, seed=0).steps / steps
