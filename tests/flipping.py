"""One byte of an artefact at a time is changed, and `ltaug check` has to find it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from ltaug.data.load import load_dataset
from ltaug.data.shards import read_images
from ltaug.errors import CorruptError
from ltaug.machine import Machine
from ltaug.manifest import read_manifest
from ltaug.options import DatasetOptions
from ltaug.pipeline import run_recipe
from ltaug.recipes import read_recipe
from ltaug.runs import MARKER
from ltaug.stages.damage import find_damage

RECIPE = """
dataset = "digits"
imbalance = 20
head = 30
[fit-generator]
steps = 20
channels = 8
batch-size = 32
checkpoint-every = 10
[synthesize]
per-class-budget = "fill:12"
sample-steps = 3
sample-batch = 16
[train-classifier]
steps = 20
[evaluate-generator]
samples = 40
[arms.real]
[arms.cbdm.synthesize]
[arms.shards.synthesize]
images-to = "shards"
"""
# Nothing reads what is in these: the log, locks, the claim of a directory, and what decides whether content is read again.
EXEMPT = ("metrics.jsonl", ".lock", MARKER, ".verified")


class Flip(NamedTuple):
    """A byte that was changed: in which file, where, and what came of it: found, harmless (equal pixels) or missed."""

    file: Path
    at: int
    outcome: str


def make_experiment(root: Path) -> None:
    """A finished experiment in root/runs, with the cache of a dataset in root/cache."""
    root.mkdir(parents=True, exist_ok=True)
    recipe, images = root / "mini.toml", root / "set"
    recipe.write_text(RECIPE)
    run_recipe(read_recipe(recipe), out=root / "runs", seeds=1, workers=1, machine=Machine(device="cpu"))
    for n in range(8):
        (images / f"{n % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), n, np.uint8)).save(images / f"{n % 2}/{n}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTAUG_CACHE", str(root / "cache"))
        load_dataset(DatasetOptions(dataset=f"folder:{images}"), seed=0)
    shutil.rmtree(images)
    recipe.unlink()


def artefacts(root: Path) -> list[Path]:
    return [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in EXEMPT and "locks" not in p.parts]


def kind_of(file: Path) -> str:
    """What an artefact is called in the table: its name, and for the many of a kind what they have in common."""
    if "images" in file.parts and file.suffix == ".png":
        return "images/**/*.png"
    return f"{file.parent.parent.name}/step-N/{file.name}" if file.parent.name.startswith("step-") else file.name.replace(*_TAR)


_TAR = ("000000-0-of-1.tar", "shards/*.tar")


def flips(root: Path, number: int, *, seed: int) -> Iterator[Flip]:
    """Change a random byte `number` times, every kind of artefact in turn, and each time check the directory that it is of."""
    random, kinds = Random(seed), {}
    for file in artefacts(root):
        kinds.setdefault(kind_of(file), []).append(file)
    for n in range(number):
        file = random.choice(list(kinds.values())[n % len(kinds)])
        if before := file.read_bytes():
            at = random.randrange(len(before))
            file.write_bytes(before[:at] + bytes([before[at] ^ random.randrange(1, 256)]) + before[at + 1 :])
            outcome = "found" if find_damage([_directory(file)]).damages else "harmless" if _harmless(file) else "missed"
            file.write_bytes(before)
            yield Flip(file, at, outcome)


def _directory(file: Path) -> Path:
    """The run, report or cache entry that a file belongs to."""
    marks = ("run.json", "report.json", "files.json")
    return next(p for p in file.parents if any((p / mark).exists() for mark in marks))


def _harmless(file: Path) -> bool:
    """Whether it is an image of a synthesis whose pixels are what they were."""
    if kind_of(file) != "images/**/*.png":
        return False
    run = _directory(file)
    (row,) = (row for row in read_manifest(run) if row.file == str(file.relative_to(run)))
    try:
        return len(list(read_images(run, [row.file], [row.sha256]))) == 1
    except CorruptError:
        return False
