"""Training of a generator: one loop whose every random draw is a function of (seed, step), so it continues exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ltaug.data.imageset import ImageSet
from ltaug.distributed.group import SOLO, Group
from ltaug.errors import OptionError
from ltaug.feed import Feed, feed
from ltaug.fields import settings_of
from ltaug.generator.backbones.pretrained import PretrainedNetwork
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.objectives import make_objective
from ltaug.generator.objectives.terms import Batch, Judged
from ltaug.generator.pipeline import AUTOENCODER_PART, AUTOENCODERS, Pipeline, digest_of
from ltaug.generator.resampling import image_probabilities, resampled_rows_of_step, rows_of_step
from ltaug.generator.space import PIXELS, Latents, Space
from ltaug.generator.step import Gradients, train_step
from ltaug.generator.trainee import EMA, Trainee, learning
from ltaug.methods import BACKBONES, GENERATOR_AUGMENTATIONS, PRECONDITIONINGS, RESAMPLINGS, judged_terms
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime, Seconds, derive_seed, seed_streams


@dataclass(frozen=True)
class TrainingData:
    """A training set for a device."""

    images: Feed  # as the space stores them
    labels: Tensor  # int64 (N,), on the device
    probabilities: Tensor | None  # (N,), on the CPU, how often each image is trained on; None is all equally often

    @classmethod
    def on(
        cls,
        device: torch.device,
        train: ImageSet,
        *,
        sampling: str = "natural",
        limit: int | None = None,
        space: Space = PIXELS,
        mirror: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> TrainingData:
        """The set, its images resident where they have fewer than `limit` bytes (see `feed`).

        Args:
            mirror: mirror images will be asked for.
            tell: hears of what `space` has to make first.
        """
        stored = space.stored(train, mirror=mirror, device=device, tell=tell)
        images, labels = feed(stored, device=device, limit=limit), torch.from_numpy(train.labels)
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
        """Images (batch_size, ...) as the space stores them, and labels of each of these steps."""
        rows = (self.rows(step, batch_size=batch_size, seed=seed) for step in steps)
        return ((images, self.labels[row]) for row, images in self.images.batches(rows))


def build_denoiser(
    options: GeneratorOptions,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    pipeline: Pipeline | None = None,
    class_names: Sequence[str] = (),
) -> Denoiser:
    """The network that options describe, untrained or as it was published; new weights come from the global random stream.

    Args:
        pipeline: the one that --pretrained or --latent names.
        class_names: with a published network, those whose rows are looked for by name.

    Raises:
        LtaugError: the images, or the options, do not go with the network or the autoencoder.
    """
    space = space_of(options, pipeline, image_shape)
    if options.pretrained is not None:
        assert pipeline is not None
        how: dict[str, Any] = {"how": options.tune, "dropout": options.dropout}
        network = PretrainedNetwork(pipeline, num_classes=num_classes, class_names=class_names, **how)
        network.require_fitting(space.shape_of(image_shape), name=options.pretrained)
        return Denoiser(network, pipeline.preconditioning(), num_classes=num_classes, space=space)
    backbone = BACKBONES.find(options.backbone)(
        image_shape=space.shape_of(image_shape),
        num_classes=num_classes,
        augment_channels=GENERATOR_AUGMENTATIONS.find(options.augment).label_channels,
        **settings_of(options, "backbone", options.backbone),
    )
    return Denoiser(backbone, PRECONDITIONINGS.find(options.preconditioning)(), num_classes=num_classes, space=space)


def space_of(options: GeneratorOptions, pipeline: Pipeline | None, image_shape: tuple[int, int, int]) -> Space:
    """Pixels, or the latents of the autoencoder of --latent or --pretrained.

    Raises:
        OptionError: latents, and a method that looks at pixels.
        LtaugError: see `Pipeline.load`.
    """
    if pipeline is None or not (options.latent or pipeline.has_autoencoder):
        return PIXELS
    flag = f"--latent {options.latent}" if options.latent else f"--pretrained {options.pretrained}"
    if options.augment != "none":
        raise OptionError(f"--augment {options.augment} varies pixels, and {flag} has latents; use --augment none")
    if terms := judged_terms(options.objective):
        raise OptionError(
            f"--objective {options.objective} shows images to judges ({terms[0]}), and {flag} has latents; leave it out"
        )
    folder = pipeline.part(AUTOENCODER_PART)
    network = pipeline.load(folder, AUTOENCODERS).eval().requires_grad_(False)
    return Latents(network, digest_of([pipeline.origin("autoencoder", folder)]), image_shape[0])


def build_trainee(
    options: GeneratorOptions,
    train: ImageSet,
    *,
    seed: int,
    device: torch.device,
    judged: Judged | None = None,
    pipeline: Pipeline | None = None,
) -> Trainee:
    """Network, objective, optimizer and average at step 0; `judged` as `make_objective` says, `pipeline` as `build_denoiser`.

    Raises:
        OptionError: an unknown name.
    """
    seed_streams(derive_seed(seed, "generator weights"))
    named: dict[str, Any] = {"pipeline": pipeline, "class_names": train.class_names}
    denoiser = build_denoiser(options, image_shape=train.image_shape, num_classes=train.num_classes, **named).to(device)
    denoiser.to(memory_format=torch.channels_last)  # faster on every device measured: benchmarks/fit_step.py
    counts = torch.from_numpy(train.class_counts).to(device)
    width = denoiser.feature_channels
    objective = make_objective(options, class_counts=counts, feature_channels=width, judged=judged).to(device)
    optimizer = torch.optim.Adam(learning(denoiser, objective), lr=options.lr, fused=True)
    return Trainee(denoiser, objective, optimizer, EMA(denoiser, decay=options.ema), torch.zeros((), device=device))


def draw_batch(data: TrainingData, options: GeneratorOptions, denoiser: Denoiser, *, step: int, seed: int) -> Batch:
    """The noised batch of a step, the same whenever it is asked for."""
    ((images, classes),) = data.batches([step], batch_size=options.batch_size, seed=seed)
    return noised(images, classes, options, denoiser, step=step, seed=seed)


def noised(images: Tensor, classes: Tensor, options: GeneratorOptions, denoiser: Denoiser, *, step: int, seed: int) -> Batch:
    """What a step makes of its images (B, ...), as the denoiser's space stores them, and their classes (B,)."""
    device, count = images.device, len(images)
    seed_streams(derive_seed(seed, "fit", step))
    mirrored = torch.rand(count, device=device) < 0.5 if mirrors(options) else None
    x0, augment = GENERATOR_AUGMENTATIONS[options.augment].apply(denoiser.space.x0(images, mirrored))
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


def mirrors(options: GeneratorOptions) -> bool:
    """Whether a step mirrors images itself."""
    return options.flip and not GENERATOR_AUGMENTATIONS[options.augment].mirrors


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
        tell: hears that memory ran out and micro-batches were halved, and of images that are encoded first.
    """
    how: dict[str, Any] = {"space": trainee.denoiser.space, "mirror": mirrors(options), "tell": tell}
    data = TrainingData.on(runtime.device, train, sampling=options.sampling, **how)
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
