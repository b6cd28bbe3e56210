"""Two classes under two models from the same noise: what each expects to see at every noise level (CBDM, figure 1's idea)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ltaug import drawing
from ltaug.data.imageset import Images
from ltaug.errors import OptionError
from ltaug.figures.inputs import Subject, find_classes
from ltaug.figures.options import DenoisingOptions
from ltaug.figures.plate import Block, Row, plate, told
from ltaug.figures.table import FIGURE_CSV, FIGURE_PNG, Drawn, to_csv
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.generate import ImageNoise, Key
from ltaug.generator.sampling import Sampling, bind
from ltaug.methods import SAMPLERS
from ltaug.runtime import Runtime

DISTANCE_SVG = "distance.svg"


@dataclass(frozen=True)
class Trajectory:
    """What one batch of images looked like to the network, from noise to the end.

    Attributes:
        sigmas: the S noise levels, decreasing; the 0 at their end is left out.
        estimates: (S, N, C, H, W), the clean image expected at each level, in -1..1.
        images: (N, C, H, W), what sampling ended in.
    """

    sigmas: tuple[float, ...]
    estimates: npt.NDArray[np.float32]
    images: Images


@torch.inference_mode()
def follow(
    denoiser: Denoiser,
    labels: Sequence[int],
    noises: Sequence[Key],
    *,
    image_shape: tuple[int, int, int],
    seed: int,
    runtime: Runtime,
    sampling: Sampling,
) -> Trajectory:
    """Sample one batch: image i of class labels[i], from the noise that `generate` gives image noises[i]."""
    sigmas = denoiser.preconditioning.grid(sampling.steps).tolist()
    noise = ImageNoise(noises, seed=seed, image_shape=denoiser.space.shape_of(image_shape), device=runtime.device)
    own = torch.tensor(labels, device=runtime.device)
    bound = bind(denoiser, own, guidance=sampling.guidance, guidance_interval=sampling.interval)
    seen: dict[float, Tensor] = {}

    def recorded(x: Tensor, sigma: float) -> Tensor:
        x0 = bound(x, sigma)
        seen[sigma] = (
            denoiser.space.decode(x0).float().cpu()
        )  # Heun comes to a level twice; the second time is the one it goes on from
        return x0

    with runtime.autocast():
        start = noise() * denoiser.preconditioning.prior_scale()
        x = SAMPLERS.find(sampling.sampler)(recorded, start, sigmas, noise, **sampling.settings)
    estimates = torch.stack([seen[s] for s in sigmas[:-1]]).numpy()
    images = denoiser.space.decode(x).float().cpu().numpy()
    return Trajectory(tuple(sigmas[:-1]), estimates, to_pixels(images))


def to_pixels(x0: npt.NDArray[np.float32]) -> Images:
    """-1..1 as grey levels."""
    return ((x0.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


@dataclass(frozen=True)
class Pair:
    """One model's way from the same noises to two classes."""

    first: Trajectory
    second: Trajectory

    @property
    def distances(self) -> npt.NDArray[np.float64]:
        """(S, N) difference of what is expected for one class and for the other."""
        return _apart(self.first.estimates, self.second.estimates)


def _apart(estimates: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(S, N) root-mean-square difference in grey levels of images (S, N, C, H, W) in -1..1."""
    return np.asarray(127.5 * np.sqrt(np.square(estimates.astype(np.float64) - others).mean((2, 3, 4))))


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
    noises, generator = [(classes[0], i) for i in range(options.noises)], subject.generator
    how: dict[str, Any] = {"image_shape": generator.image_shape, "seed": seed, "runtime": runtime}
    how["sampling"] = Sampling.of(options)
    first, second = (follow(generator.denoiser, [c] * len(noises), noises, **how) for c in classes)
    return Pair(first, second)


def draw_denoising(subjects: Sequence[Subject], options: DenoisingOptions, *, seed: int, runtime: Runtime) -> Drawn:
    """figure.png: the expected images along the way; distance.svg: how far the two classes are apart; figure.csv: both."""
    names = subjects[0].generator.class_names
    a, b = two_classes(subjects[0], options)
    pairs = [follow_pair(s, (a, b), options, seed=seed, runtime=runtime) for s in subjects]
    shown = sorted({round(i) for i in np.linspace(0, options.sample_steps - 1, options.columns)})  # with first and last
    blocks = [
        Block(
            f"{subject.name}, {told(options.guidance, options.guidance_interval)}: the image expected at noise level sigma =",
            [(i, f"{pair.first.sigmas[step]:.3g}") for i, step in enumerate(shown)],
            [
                Row(f"{names[c]}  ({subject.record.class_counts[c]:,} real)", to_pixels(way.estimates[shown, 0]))
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
            "to_final": float(_apart(way.estimates, way.estimates[-1])[step].mean()),
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
