"""The self-test of `ltaug doctor`: a generator, images of it and a classifier, all tiny, made twice and compared."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from ltaug.errors import CorruptError, LtaugError
from ltaug.files import file_digest
from ltaug.machine import Machine
from ltaug.stages.classifier import train_classifier
from ltaug.stages.damage import find_damage
from ltaug.stages.generator import fit_generator
from ltaug.stages.synthesis import synthesize

DATASET = {"dataset": "digits", "imbalance": 20, "head": 30}


def differences_of_two(machine: Machine) -> list[str]:
    """The files in which two equal experiments differ; on a CPU there should be none. With one thread, as workers have.

    Raises:
        LtaugError: one cannot be made, is not whole on the disk, or has weights that are not finite.
    """
    machine = dataclasses.replace(machine, threads=machine.threads or 1)
    with tempfile.TemporaryDirectory(prefix="ltaug-") as folder:
        once, again = (_experiment(Path(folder) / name, machine) for name in ("once", "again"))
    return [name for name, digest in once.items() if again.get(name) != digest]


def _experiment(folder: Path, machine: Machine) -> dict[str, str]:
    """The digest of each of its weights, images and predictions."""
    generator = fit_generator(DATASET, {"steps": 5, "channels": 8, "batch_size": 16}, out=folder / "generator", machine=machine)
    images = synthesize(generator, {"per_class_budget": "2", "sample_steps": 3}, out=folder / "images", machine=machine)
    train_classifier(DATASET, {"steps": 5}, synthetic=images, out=folder / "classifier", machine=machine)
    if damages := find_damage([folder]).damages:
        raise CorruptError(damages[0].what)
    weights = sorted(folder.rglob("*.safetensors"))
    for file in weights:
        if bad := [name for name, values in load_file(file).items() if not values.isfinite().all()]:
            raise LtaugError(f"{file.relative_to(folder)}: {bad[0]} is not finite")
    files = [*weights, *sorted(folder.rglob("*.png")), *folder.rglob("predictions.npz")]
    return {str(file.relative_to(folder)): file_digest(file) for file in files}
