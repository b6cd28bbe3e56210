"""resample: arrays in, arrays with synthetic images out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.machine import Machine
from ltaug.manifest import read_synthetic
from ltaug.runs import Listener, ignore_events
from ltaug.stages.generator import fit_generator
from ltaug.stages.opening import Given, How
from ltaug.stages.synthesis import synthesize

Array = npt.NDArray[Any]


def resample(
    images: Array | Sequence[Any],
    labels: Array | Sequence[Any],
    *,
    generator: Given | None = None,
    synthesis: Given | None = None,
    out: Path | None = None,
    seed: int = 0,
    machine: Machine = Machine(),  # noqa: B008
    listener: Listener = ignore_events,
) -> tuple[Array, Array]:
    """Fit a generator to labelled images, and add synthetic ones until every class is as large as the largest.

    imbalanced-learn takes it as a sampler: `FunctionSampler(func=ltaug.resample, validate=False, kw_args={...})`.

    Args:
        images: uint8, (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3; all are trained on.
        labels: (N,), of any type that numpy sorts.
        generator: GeneratorOptions by name.
        synthesis: SynthesisOptions by name, such as per_class_budget.
        out: where the runs are kept, so that the same call goes on after an interruption [default: nowhere].

    Returns:
        images and labels, in the form they were given in: those given first, then the synthetic ones.

    Raises:
        DataError: images or labels of another type or shape.
        OptionError: a misspelt option.
        RunExistsError: `out` holds the runs of other images or options.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    how: How = {"machine": machine, "listener": listener}
    with tempfile.TemporaryDirectory(prefix="ltaug-") if out is None else nullcontext(str(out)) as folder:
        home = Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        given: Any = {"images": images, "labels": numbers, "class_names": classes.astype(str)}
        np.savez(home / "images.npz", **given, test_images=images[:0], test_labels=numbers[:0])
        made = fit_generator({"dataset": str(home / "images.npz")}, generator or {}, out=home / "generator", seed=seed, **how)
        added = read_synthetic(synthesize(made, synthesis or {}, out=home / "synthetic", **how))
    pixels = np.asarray(added.images)
    pixels = pixels[:, 0] if images.ndim == 3 else pixels.transpose(0, 2, 3, 1) if images.shape[3] in (1, 3) else pixels
    return np.concatenate([images, pixels]), np.concatenate([labels, classes[added.labels]])
