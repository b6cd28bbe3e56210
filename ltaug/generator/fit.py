"""Training of a generator: one loop whose every random draw is a function of (seed, step), so it continues exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from ltaug.data.imageset import ImageSet
from ltaug.distributed.group import SOLO, Group
from ltaug.feed import Feed, feed
from ltaug.fields import settings_of
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.objectives import make_objective
from ltaug.generator.objectives.terms import Batch, Judged
from ltaug.generator.resampling import image_probabilities, resampled_rows_of_step, rows_of_step
from ltaug.generator.step import Gradients, train_step
from ltaug.generator.trainee import EMA, Trainee
from ltaug.methods import BACKBONES, GENERATOR_AUGMENTATIONS, PRECONDITIONINGS, RESAMPLINGS
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime, Seconds, derive_seed, seed_streams


@dataclass(frozen=True)
class TrainingData:
    """A training set for a device."""

    images: Feed
    labels: Tensor  # int64 (N,), on the device
    probabilities: Tensor | None  # (N,), on the CPU, how often each image is trained on; None is all equally often

    @classmethod
    def on(cls, device: torch.device, train: ImageSet, *, sampling: str = "natural", limit: int | None = None) -> TrainingData:
        """The set, its images resident where they have fewer than `limit` bytes (see `feed`)."""
        images, labels = feed(train.images, device=device, limit=limit), torch.from_numpy(train.labels)
        if sampling == "natural":
            return cls(images, labels.to(device), None)
        counts = torch.from_numpy(train.class_counts)
        return cls(images, labels.to(device), image_probabilities(labels, counts, power=RESAMPLINGS[sampling]))

    def rows(self, step: int, *, batch_size: int, seed: int) -> Tensor:
        """(batch_size,) the images of a step, on the CPU."""
        if self.probabilities is None:
            return rows_of_step(step, batch_size=batch_size, count=len(self.labels), seed=seed)
        return resampled_rows_of_step(step, batch_size=batch_size, probabilities=self.probabilities, seed=seed)

    def batches(self, steps: Iterable[int], *, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, uint8 (batch_size, C, H, W), and labels of each of these steps."""
        rows = (self.rows(step, batch_size=batch_size, seed=seed) for step in steps)
        return ((images, self.labels[row]) for row, images in self.images.batches(rows))


def to_unit(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 -1..1."""
    return images.float().div_(127.5).sub_(1)


def build_denoiser(options: GeneratorOptions, *, image_shape: tuple[int, int, int], num_classes: int) -> Denoiser:
    """The untrained network that options describe; its initial weights come from the global random stream."""
    backbone = BACKBONES.find(options.backbone)(
        image_shape=image_shape,
        num_classes=num_classes,
        augment_channels=GENERATOR_AUGMENTATIONS.find(options.augment).label_channels,
        **settings_of(options, "backbone", options.backbone),
    )
    return Denoiser(backbone, PRECONDITIONINGS.find(options.preconditioning)(), num_classes=num_classes)


def build_trainee(
    options: GeneratorOptions, train: ImageSet, *, seed: int, device: torch.device, judged: Judged | None = None
) -> Trainee:
    """Network, objective, optimizer and average at step 0; `judged` as `make_objective` says.

    Raises:
        OptionError: an unknown name.
    """
    seed_streams(derive_seed(seed, "generator weights"))
    denoiser = build_denoiser(options, image_shape=train.image_shape, num_classes=train.num_classes).to(device)
    denoiser.to(memory_format=torch.channels_last)  # faster on every device measured: benchmarks/fit_step.py
    counts = torch.from_numpy(train.class_counts).to(device)
    width = denoiser.feature_channels
    objective = make_objective(options, class_counts=counts, feature_channels=width, judged=judged).to(device)
    parameters = [*denoiser.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=options.lr, fused=True)
    return Trainee(denoiser, objective, optimizer, EMA(denoiser, decay=options.ema), torch.zeros((), device=device))


def draw_batch(data: TrainingData, options: GeneratorOptions, denoiser: Denoiser, *, step: int, seed: int) -> Batch:
    """The noised batch of a step, the same whenever it is asked for."""
    ((images, classes),) = data.batches([step], batch_size=options.batch_size, seed=seed)
    return noised(images, classes, options, denoiser, step=step, seed=seed)


def noised(images: Tensor, classes: Tensor, options: GeneratorOptions, denoiser: Denoiser, *, step: int, seed: int) -> Batch:
    """What a step makes of its images, uint8 (B, C, H, W), and their classes (B,)."""
    device, count = images.device, len(images)
    seed_streams(derive_seed(seed, "fit", step))
    x0 = to_unit(images)
    augmentation = GENERATOR_AUGMENTATIONS[options.augment]
    if options.flip and not augmentation.mirrors:
        mirrored = torch.rand(count, device=device) < 0.5
        x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
    x0, augment = augmentation.apply(x0)
    dropped = torch.rand(count, device=device) < options.label_dropout
    sigma, time = denoiser.preconditioning.draw(count, device=device)
    return Batch(
        x0=x0,
        eps=torch.randn_like(x0),
        sigma=sigma,
        time=time,
        labels=torch.where(dropped, denoiser.null_label, classes),
        classes=classes,
        weight=denoiser.preconditioning.loss_weight(sigma),
        augment=augment,
    )


def fit(
    trainee: Trainee,
    train: ImageSet,
    options: GeneratorOptions,
    runtime: Runtime,
    *,
    seed: int,
    start: int = 0,
    group: Group = SOLO,
    after_step: Callable[[int, dict[str, Tensor]], bool] = lambda step, terms: True,
    tell: Callable[[str], None] = lambda text: None,
) -> Seconds:
    """Train from step `start` to options.steps, or until `after_step(steps done, terms)` returns False.

    Args:
        group: the processes that share every batch; each hands `after_step` what its images contribute to the batch means.
        tell: hears that memory ran out and micro-batches were halved.
    """
    data = TrainingData.on(runtime.device, train, sampling=options.sampling)
    trainee.denoiser.train()
    gradients = Gradients(trainee, runtime, group, tell)
    began = warm = perf_counter()
    batches = data.batches(range(start, options.steps), batch_size=options.batch_size, seed=seed)
    for step, (images, classes) in enumerate(batches, start):
        batch = noised(images, classes, options, trainee.denoiser, step=step, seed=seed)
        go_on = after_step(step + 1, train_step(trainee, batch, options, runtime, step=step, gradients=gradients))
        if step == start:
            runtime.synchronize()
            warm = perf_counter()
        if not go_on:
            break
    runtime.synchronize()
    return Seconds(warm - began, perf_counter() - warm)
