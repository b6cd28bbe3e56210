"""A small experiment as one version of ltaug writes it, kept so that later versions are held to reading it.

When the format of anything in it changes, add what the new code writes to git (about 400 kB, 25 s):

    python tests/keeping.py tests/kept/N.tar.xz
"""

import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from ltaug import stages
from ltaug.machine import Machine
from ltaug.pipeline import run_recipe
from ltaug.recipes import read_recipe

# No steps of learning for the classifiers: their weights are then alike, and xz keeps them once.
RECIPE = """
dataset = "digits"
imbalance = 20
head = 20
test-per-class = 5
[fit-generator]
backbone = "vit"
depth = 2
width = 8
heads = 1
steps = 20
batch-size = 16
[synthesize]
per-class-budget = "fill:6"
sample-steps = 3
[train-classifier]
steps = 5
lr = 0.0
[evaluate-generator]
samples = 20
extractor = "pixels"
[arms.real]
[arms.cbdm.fit-generator]
objective = "cbdm"
"""
FIT = {"backbone": "vit", "depth": 2, "width": 8, "heads": 1, "batch_size": 16, "steps": 40, "checkpoint_every": 20}
CPU = Machine(device="cpu", threads=1)


def keep(target: Path) -> None:
    """Write the experiment and an unfinished fit, in `experiment` and `unfinished`, to a .tar.xz file."""
    with TemporaryDirectory() as made:
        root = Path(made)
        (root / "mini.toml").write_text(RECIPE)
        run_recipe(read_recipe(root / "mini.toml"), out=root / "experiment", seeds=1, workers=1, machine=CPU)
        try:
            fit(root / "unfinished", listener=_stop_late)
        except KeyboardInterrupt:
            target.parent.mkdir(exist_ok=True)
            with tarfile.open(target, "w:xz", preset=9) as archive:
                for name in ("experiment", "unfinished"):
                    archive.add(root / name, name)


def fit(out, **how):
    """Begin the unfinished fit, or go on with it."""
    stages.fit_generator({"dataset": "digits", "head": 20}, FIT, out=out, machine=CPU, **how)


def _stop_late(event):
    if event.step >= 30:
        raise KeyboardInterrupt


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
