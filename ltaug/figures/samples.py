"""Class-conditional contact sheet: a row a class, most frequent first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltaug.data.imageset import Images
from ltaug.figures.options import SamplesOptions
from ltaug.figures.plate import Block, Row, plate
from ltaug.figures.strengths import told
from ltaug.figures.subject import Subject, find_classes
from ltaug.figures.table import FIGURE_CSV, FIGURE_PNG, Drawn, to_csv
from ltaug.figures.trajectory import follow
from ltaug.generator.batching import batch_for
from ltaug.generator.generate import Key, generate
from ltaug.generator.sampling import Sampling
from ltaug.runtime import Runtime


def shown_classes(subject: Subject, options: SamplesOptions) -> list[int]:
    """The rows' classes: those asked for, or all, most frequent first.

    Raises:
        OptionError: a class the generator does not have, or one twice.
    """
    if options.classes:
        return find_classes(options.classes, subject.generator.class_names, flag="--classes")
    return subject.by_frequency()


def class_samples(
    subject: Subject,
    shown: Sequence[int],
    noises: Sequence[Sequence[Key]],
    options: SamplesOptions,
    *,
    seed: int,
    runtime: Runtime,
) -> list[Images]:
    """uint8 (per_class, C, H, W) for every class shown, each image from its own key's noise.

    With `same_noise` every row has the keys of the first class, and a row is sampled as one batch.
    """
    generator, shape = subject.generator, subject.generator.image_shape
    how: dict[str, Any] = {"image_shape": shape, "seed": seed, "runtime": runtime, "sampling": Sampling.of(options)}
    if options.same_noise:
        return [follow(generator.denoiser, [c] * len(keys), keys, **how).images for c, keys in zip(shown, noises, strict=True)]
    flat = [key for keys in noises for key in keys]
    batch = batch_for(
        options.sample_batch,
        len(flat),
        denoiser=generator.denoiser,
        image_shape=shape,
        guidance=options.guidance,
        runtime=runtime,
    )
    images = generate(generator.denoiser, flat, batch_size=batch, **how)
    return list(np.split(images, len(shown)))


def draw_samples(subject: Subject, options: SamplesOptions, *, seed: int, runtime: Runtime) -> Drawn:
    """The sheet, and which image stands where."""
    names = subject.generator.class_names
    shown = shown_classes(subject, options)
    noises = [[(shown[0] if options.same_noise else c, i) for i in range(options.per_class)] for c in shown]
    rows = class_samples(subject, shown, noises, options, seed=seed, runtime=runtime)
    counts = subject.class_counts
    labelled = [Row(f"{names[c]}  ({counts[c]:,} real)", images) for c, images in zip(shown, rows, strict=True)]
    title = f"{subject.name}, {told(options.guidance, options.guidance_interval)}" + (
        ": the same noise in every row" if options.same_noise else ""
    )
    drawn = plate([Block(title, (), labelled)])
    table = [
        {"class": names[c], "index": i, "seed": seed, "noise_class": names[noise[0]], "row": r, "column": i}
        for r, (c, keys) in enumerate(zip(shown, noises, strict=True))
        for i, noise in enumerate(keys)
    ]
    return Drawn({FIGURE_PNG: drawn.png, FIGURE_CSV: to_csv(table)})
