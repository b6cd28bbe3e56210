"""Generators by guidance strengths, from the same noise, each image above the training image nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import Images, ImageSet
from ltaug.figures.options import GridOptions
from ltaug.figures.plate import Block, Row, plate
from ltaug.figures.strengths import require_strengths, told
from ltaug.figures.subject import Subject, find_classes
from ltaug.figures.table import FIGURE_CSV, FIGURE_PNG, Drawn, Progress, to_csv
from ltaug.generator.finetune import saw_mirrored
from ltaug.generator.generate import generate
from ltaug.generator.sampling import Sampling
from ltaug.metrics.neighbours import fit_neighbours
from ltaug.runtime import Runtime


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
    for row, subject in enumerate(subjects):
        made = np.concatenate(
            [
                generate(
                    subject.generator.denoiser,
                    keys,
                    image_shape=train.image_shape,
                    seed=seed,
                    runtime=runtime,
                    sampling=Sampling.of(options, guidance=w),
                    batch_size=len(keys),
                )
                for w in strengths
            ]
        )
        progress("drawing", row + 1, len(subjects))
        mirrors = saw_mirrored(subject.record)  # it may copy a mirrored image
        index, distance = fit_neighbours(train, mirrored=mirrors).nearest(made)
        real, mirrored = _as_nearest(made, train.images[index], mirrors=mirrors)
        classes = [train.class_names[k] for k in train.labels[index]]
        captions = [
            f"{d:.1f}" if name == train.class_names[c] else f"{d:.1f} ({name})" for d, name in zip(distance, classes, strict=True)
        ]
        blocks.append(Block(subject.name, headings, [Row("generated", made), Row("nearest real", real, captions)]))
        table += [
            {
                "generator": subject.name,
                "objective": subject.record.options.objective,
                "tau": subject.tau,
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
    foot = (
        f"Class {train.class_names[c]} ({subjects[0].class_counts[c]:,} real). Below each image the nearest training image:",
        "RMS difference in grey levels, and its class where it is another.",
    )
    return Drawn({FIGURE_PNG: plate(blocks, every=options.images, foot=foot).png, FIGURE_CSV: to_csv(table)})


def _as_nearest(made: Images, real: Images, *, mirrors: bool) -> tuple[Images, npt.NDArray[np.bool_]]:
    """Real images, mirrored where mirrors count and that is nearer, and where it is."""
    flipped = np.ascontiguousarray(real[..., ::-1])
    plain, mirror = (np.square(made.astype(np.int64) - r).sum((1, 2, 3)) for r in (real, flipped))
    nearer = (mirror < plain) & mirrors
    return np.where(nearer[:, None, None, None], flipped, real), nearer
