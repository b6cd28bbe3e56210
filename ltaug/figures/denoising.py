"""Two classes under two models from the same noise: what each expects to see at every noise level (CBDM, figure 1's idea)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ltaug import drawing
from ltaug.errors import OptionError
from ltaug.figures.options import DenoisingOptions
from ltaug.figures.plate import Block, Row, plate
from ltaug.figures.strengths import told
from ltaug.figures.subject import Subject, find_classes
from ltaug.figures.table import FIGURE_CSV, FIGURE_PNG, Drawn, to_csv
from ltaug.figures.trajectory import Trajectory, follow, to_pixels
from ltaug.generator.sampling import Sampling
from ltaug.runtime import Runtime

DISTANCE_SVG = "distance.svg"


@dataclass(frozen=True)
class Pair:
    """One model's way from the same noises to two classes."""

    first: Trajectory
    second: Trajectory

    @property
    def distances(self) -> npt.NDArray[np.float64]:
        """(S, N) root-mean-square difference, in grey levels, of what is expected for one class and for the other."""
        difference = self.first.estimates.astype(np.float64) - self.second.estimates
        return np.asarray(127.5 * np.sqrt(np.square(difference).mean((2, 3, 4))))


def two_classes(subject: Subject, options: DenoisingOptions) -> tuple[int, int]:
    """The two asked for, or the most frequent and the rarest.

    Raises:
        OptionError: not two, or a class the generator does not have.
    """
    names, ranked = subject.generator.class_names, subject.by_frequency()
    chosen = options.classes or (names[ranked[0]], names[ranked[-1]])
    if len(chosen) != 2:
        raise OptionError(f"--classes {','.join(chosen)} must be two classes, such as {names[ranked[0]]},{names[ranked[-1]]}")
    a, b = find_classes(chosen, names, flag="--classes")
    return a, b


def follow_pair(subject: Subject, classes: tuple[int, int], options: DenoisingOptions, *, seed: int, runtime: Runtime) -> Pair:
    """Both classes from the same noises, those of the first class's images."""
    noises = [(classes[0], i) for i in range(options.noises)]
    first, second = (
        follow(
            subject.generator.denoiser,
            [c] * len(noises),
            noises,
            image_shape=subject.generator.image_shape,
            seed=seed,
            runtime=runtime,
            sampling=Sampling.of(options),
        )
        for c in classes
    )
    return Pair(first, second)


def draw_denoising(subjects: Sequence[Subject], options: DenoisingOptions, *, seed: int, runtime: Runtime) -> Drawn:
    """figure.png: the expected images along the way; distance.svg: how far the two classes are apart; figure.csv: both."""
    names = subjects[0].generator.class_names
    a, b = two_classes(subjects[0], options)
    pairs = [follow_pair(s, (a, b), options, seed=seed, runtime=runtime) for s in subjects]
    shown = _evenly(options.sample_steps, options.columns)
    blocks = [
        Block(
            f"{subject.name}, {told(options.guidance, options.guidance_interval)}: the image expected at noise level sigma =",
            [(i, f"{pair.first.sigmas[step]:.3g}") for i, step in enumerate(shown)],
            [
                Row(f"{names[c]}  ({subject.class_counts[c]:,} real)", to_pixels(way.estimates[shown, 0]))
                for c, way in ((a, pair.first), (b, pair.second))
            ],
        )
        for subject, pair in zip(subjects, pairs, strict=True)
    ]
    table = [
        {
            "generator": subject.name,
            "class": names[c],
            "other_class": names[o],
            "step": step,
            "sigma": pair.first.sigmas[step],
            "column": shown.index(step) if step in shown else None,
            "noises": options.noises,
            "distance": float(d.mean()),
            "distance_sd": float(d.std(ddof=1)) if options.noises > 1 else None,
            "distance_shown": float(d[0]),
            "to_final": float(_to_final(way)[step].mean()),
        }
        for subject, pair in zip(subjects, pairs, strict=True)
        for c, o, way in ((a, b, pair.first), (b, a, pair.second))
        for step, d in enumerate(pair.distances)
    ]
    apart = {s.name: (pair.first.sigmas, pair.distances.mean(1)) for s, pair in zip(subjects, pairs, strict=True)}
    files = {
        FIGURE_PNG: plate(blocks).png,
        FIGURE_CSV: to_csv(table),
        DISTANCE_SVG: _distance_svg(apart, (names[a], names[b]), options.noises).encode(),
    }
    return Drawn(files, facts={"final_distance": {name: float(d[-1]) for name, (_, d) in apart.items()}})


def _to_final(way: Trajectory) -> npt.NDArray[np.float64]:
    """(S, N) root-mean-square difference, in grey levels, of what is expected and what sampling ends in."""
    difference = way.estimates.astype(np.float64) - way.estimates[-1]
    return np.asarray(127.5 * np.sqrt(np.square(difference).mean((2, 3, 4))))


def _evenly(steps: int, columns: int) -> list[int]:
    """At most `columns` of the steps, evenly, with the first and the last."""
    return sorted({round(i) for i in np.linspace(0, steps - 1, columns)})


def _distance_svg(
    apart: dict[str, tuple[tuple[float, ...], npt.NDArray[np.float64]]], classes: tuple[str, str], noises: int
) -> str:
    with drawing.style():
        figure = Figure(figsize=(0.65 * drawing.WIDTH, 3.3), layout="constrained")
        axis = figure.subplots()
        handles = []
        for i, (name, (sigmas, distances)) in enumerate(apart.items()):
            look: dict[str, Any] = {"color": drawing.COLOURS[i], "marker": drawing.MARKERS[i]}
            handles += axis.plot(sigmas, distances, label=name, markersize=4.5, linewidth=1.4, **look)
        axis.set_xscale("log")
        axis.invert_xaxis()
        axis.set_ylim(bottom=0)
        axis.grid(axis="y")
        axis.set_xlabel("sigma, from noise to image")
        axis.set_ylabel("RMS difference in grey levels")
        axis.set_title(f"How far apart {classes[0]} and {classes[1]} are from the same noise (mean of {noises})")
        drawing.legend(figure, handles)
        alt = f"Difference between the expected images of {classes[0]} and {classes[1]} from the same noise, by noise level"
        return drawing.svg(figure, "denoising", alt)
