"""Sheets of generated images: a row a class; or generators by guidance strengths, each image above the nearest training image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltaug.data.imageset import Images, ImageSet
from ltaug.errors import OptionError
from ltaug.figures.denoising import follow
from ltaug.figures.inputs import Subject, find_classes, tau_of
from ltaug.figures.options import GridOptions, SamplesOptions
from ltaug.figures.plate import Block, Row, plate, told
from ltaug.figures.table import FIGURE_CSV, FIGURE_PNG, Drawn, Progress, to_csv
from ltaug.generator.batching import batch_for
from ltaug.generator.finetune import saw_mirrored
from ltaug.generator.generate import Key, generate
from ltaug.generator.sampling import Sampling
from ltaug.metrics.neighbours import as_nearest, fit_neighbours
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
    generator = subject.generator
    shared: dict[str, Any] = {"image_shape": generator.image_shape, "runtime": runtime}
    how = shared | {"seed": seed, "sampling": Sampling.of(options)}
    if options.same_noise:
        return [follow(generator.denoiser, [c] * len(keys), keys, **how).images for c, keys in zip(shown, noises, strict=True)]
    flat = [key for keys in noises for key in keys]
    batch = batch_for(options.sample_batch, len(flat), denoiser=generator.denoiser, guidance=options.guidance, **shared)
    return list(np.split(generate(generator.denoiser, flat, batch_size=batch, **how), len(shown)))


def draw_samples(subject: Subject, options: SamplesOptions, *, seed: int, runtime: Runtime) -> Drawn:
    """The sheet, and which image stands where."""
    names = subject.generator.class_names
    shown = shown_classes(subject, options)
    noises = [[(shown[0] if options.same_noise else c, i) for i in range(options.per_class)] for c in shown]
    rows = class_samples(subject, shown, noises, options, seed=seed, runtime=runtime)
    counts = subject.record.class_counts
    labelled = [Row(f"{names[c]}  ({counts[c]:,} real)", images) for c, images in zip(shown, rows, strict=True)]
    same = ": the same noise in every row" if options.same_noise else ""
    drawn = plate([Block(f"{subject.name}, {told(options.guidance, options.guidance_interval)}{same}", (), labelled)])
    table = [
        {"class": names[c], "index": i, "seed": seed, "noise_class": names[noise[0]], "row": r, "column": i}
        for r, (c, keys) in enumerate(zip(shown, noises, strict=True))
        for i, noise in enumerate(keys)
    ]
    return Drawn({FIGURE_PNG: drawn.png, FIGURE_CSV: to_csv(table)})


def require_strengths(strengths: Sequence[float], *, least: int) -> tuple[float, ...]:
    """The strengths in ascending order.

    Raises:
        OptionError: fewer than `least`, or one twice.
    """
    shown = ",".join(f"{w:g}" for w in strengths) or "none"
    if len(strengths) < least:
        raise OptionError(f"--strengths {shown}: give at least {least}, such as 0,1,2")
    if len(set(strengths)) < len(strengths):
        raise OptionError(f"--strengths {shown} names a strength twice; name each once")
    return tuple(sorted(strengths))


def the_class(subject: Subject, options: GridOptions) -> int:
    """The class asked for, or the rarest; OptionError where the generator does not have it."""
    if options.of_class is None:
        return subject.by_frequency()[-1]
    return find_classes([options.of_class], subject.generator.class_names, flag="--class")[0]


def draw_grid(
    subjects: Sequence[Subject], train: ImageSet, options: GridOptions, *, seed: int, runtime: Runtime, progress: Progress
) -> Drawn:
    """figure.png: two rows a generator, its images and their nearest training images; figure.csv: which, and how near.

    Args:
        train: the training images of all these generators.
    """
    strengths = require_strengths(options.strengths, least=1)
    c = the_class(subjects[0], options)
    keys = [(c, i) for i in range(options.images)]
    blocks: list[Block] = []
    table: list[dict[str, Any]] = []
    headings = [(s * options.images, told(w, options.guidance_interval)) for s, w in enumerate(strengths)]
    how: dict[str, Any] = {"image_shape": train.image_shape, "seed": seed, "runtime": runtime, "batch_size": len(keys)}
    for row, subject in enumerate(subjects):
        ways = [Sampling.of(options, guidance=w) for w in strengths]
        made = np.concatenate([generate(subject.generator.denoiser, keys, sampling=way, **how) for way in ways])
        progress("drawing", row + 1, len(subjects))
        mirrors = saw_mirrored(subject.record)  # it may copy a mirrored image
        index, distance = fit_neighbours(train, mirrored=mirrors).nearest(made)
        real, mirrored = as_nearest(made, train.images[index], mirrored=mirrors)
        classes = [train.class_names[k] for k in train.labels[index]]
        captions = [
            f"{d:.1f}" if name == train.class_names[c] else f"{d:.1f} ({name})" for d, name in zip(distance, classes, strict=True)
        ]
        blocks.append(Block(subject.name, headings, [Row("generated", made), Row("nearest real", real, captions)]))
        table += [
            {
                "generator": subject.name,
                "objective": subject.record.options.objective,
                "tau": tau_of(subject.record.options),
                "guidance": float(strengths[column // options.images]),
                "class": train.class_names[c],
                "index": column % options.images,
                "seed": seed,
                "row": row,
                "column": column,
                "nearest_real": int(index[column]),
                "nearest_class": classes[column],
                "nearest_mirrored": bool(mirrored[column]),
                "distance": float(distance[column]),
            }
            for column in range(len(made))
        ]
    class_size = f"{subjects[0].record.class_counts[c]:,} real"
    foot = (
        f"Class {train.class_names[c]} ({class_size}). Below each image the nearest training image:",
        "RMS difference in grey levels, and its class where it is another.",
    )
    return Drawn({FIGURE_PNG: plate(blocks, every=options.images, foot=foot).png, FIGURE_CSV: to_csv(table)})
