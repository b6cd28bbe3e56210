"""Improved precision and recall (Kynkaanniemi et al., NeurIPS 2019, eqs. 1-2), density and coverage (Naeem et al., ICML 2020).

Every image has a ball in feature space that reaches to its k-th nearest neighbour of its own sample, itself not counted.

    precision   share of generated images within a ball of any reference image
    recall      share of reference images within a ball of any generated image
    density     how many reference balls a generated image lies in, over k; can exceed 1
    coverage    share of reference balls that hold a generated image

Balls are closed. Of more than k equal images each has a ball of radius 0, which still holds their copies.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from ltaug.metrics.distances import frame_of, nearest, within
from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.measured import Features, Notebook, require_images


class Manifold(NamedTuple):
    """The four measures, in [0, 1] but for density."""

    precision: float
    recall: float
    density: float
    coverage: float


def balls(given: Evaluated, notes: Notebook) -> None:
    """Enter precision, recall, density and coverage, of all images and of each group's."""
    for suffix, ours, theirs in given.parts():
        measure = partial(manifold, ours.features, theirs.features, neighbours=given.neighbours)
        notes.note([f"{name}{suffix}" for name in Manifold._fields], measure, unless=given.uninformative)


def manifold(generated: Features, reference: Features, *, neighbours: int = 5) -> Manifold:
    """Of features (N, D) and (M, D), which are finite; k = `neighbours`.

    Beside the two arrays it holds their float32 copies and a few blocks of 64 MiB.

    Raises:
        Unmeasurable: no more than k images on either side.
    """
    require_images(len(generated), neighbours + 1, what="generated images")
    require_images(len(reference), neighbours + 1, what="reference images")
    frame = frame_of(generated, reference)
    ours, theirs = frame.place(generated), frame.place(reference)
    our_radius = nearest(ours, ours, neighbours, but=np.arange(len(ours.values)))[1][:, -1]
    their_radius = nearest(theirs, theirs, neighbours, but=np.arange(len(theirs.values)))[1][:, -1]
    in_ours = np.zeros(len(reference), bool)
    holding = np.zeros(len(reference), bool)
    balls = np.zeros(len(generated), np.int64)
    for rows, in_our_ball, in_their_ball in within(ours, theirs, of_a=our_radius, of_b=their_radius):
        in_ours |= in_our_ball.any(0).numpy()
        holding |= in_their_ball.any(0).numpy()
        balls[rows] = in_their_ball.sum(1).numpy()
    return Manifold(
        precision=float((balls > 0).mean()),
        recall=float(in_ours.mean()),
        density=float(balls.mean() / neighbours),
        coverage=float(holding.mean()),
    )
