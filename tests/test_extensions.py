"""The promise of docs/design.md, kept literally: a component of any kind is one new file and one line in its registry.

A copy of the package gets a toy of every kind, as somebody who carries on would add it; an option of its own is one more line,
in options.py. Then the command line, recipes, the conformance tests, a whole experiment and its report must know all of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Extension:
    """A toy: its file, and the line in a registry of `home` that names it; `option` is its own, in a class of options.py."""

    file: str
    text: str
    registry: str
    line: str
    option: tuple[str, str] | None = None
    home: str = "methods.py"


REGULARISER = Extension(
    "generator/objectives/toy.py",
    """
    class Toy:
        def __init__(self, class_counts, feature_channels, *, pull=1.0):
            self.pull = pull

        def conditioning(self, batch):
            return None

        def __call__(self, own, other, batch, given):
            return self.pull * own.eps.square().flatten(1).mean(1)
    """,
    "REGULARISERS",
    '"toy": "ltaug.generator.objectives.toy:Toy",',
    ("GeneratorOptions", 'toy_pull: float = option(1.0, "toy: strength", low=0, owner={"objective": ("toy",)})'),
)
BACKBONE = Extension(
    "generator/backbones/toy.py",
    """
    from torch import nn


    class ToyNet(nn.Module):
        TINY = {"thickness": 6}

        def __init__(self, *, image_shape, num_classes, augment_channels=0, thickness=4, dropout=0.1):
            super().__init__()
            self.feature_channels = thickness
            self.into = nn.Conv2d(image_shape[0], thickness, 3, padding=1)
            self.noise = nn.Linear(1, thickness)
            self.classes = nn.Embedding(num_classes, thickness)
            self.augment = nn.Linear(augment_channels, thickness, bias=False) if augment_channels else None
            self.blocks = nn.ModuleList([nn.Sequential(nn.SiLU(), nn.Conv2d(thickness, thickness, 3, padding=1))])
            self.out = nn.Conv2d(thickness, image_shape[0], 1)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

        def forward(self, x, noise_input, labels, augment=None):
            known = labels < self.classes.num_embeddings
            told = self.classes(labels.clamp_max(self.classes.num_embeddings - 1)) * known[:, None]
            told = told + self.noise(noise_input[:, None].to(self.noise.weight.dtype))
            if self.augment is not None and augment is not None:
                told = told + self.augment(augment)
            h = self.into(x) + told[:, :, None, None]
            for block in self.blocks:
                h = h + block(h)
            return self.out(h), h
    """,
    "BACKBONES",
    '"toy": "ltaug.generator.backbones.toy:ToyNet",',
    ("GeneratorOptions", 'thickness: int = option(4, "toy: channels", low=1, owner={"backbone": ("toy",)})'),
)
SAMPLER = Extension(
    "generator/toy_sampler.py",
    """
    from itertools import pairwise


    def toy(denoise, x, sigmas, noise, *, shake=0.0):
        for s, r in pairwise(sigmas):
            x0 = denoise(x, s)
            x = x0 + (r / s) * (x - x0)
            x = x + shake * r * noise() if shake else x
        return x
    """,
    "SAMPLERS",
    '"toy": "ltaug.generator.toy_sampler:toy",',
    ("SamplerOptions", 'toy_shake: float = option(0.0, "toy: noise added at a step", low=0, owner={"sampler": ("toy",)})'),
)
MEASURE = Extension(
    "metrics/toy.py",
    """
    def brightness(given, notes):
        notes.note(["brightness"], lambda: (float(given.images.mean()),))
    """,
    "MEASURES",
    '"brightness": Measure("mean brightness", "higher", "toy:brightness"),',
    home="metrics/measures.py",
)
RULE = Extension(
    "synthesis/toy_rule.py",
    """
    from ltaug.synthesis.select import Rule


    def too_dark(real, *, limit):
        return Rule("dark", lambda seen: seen.images.mean((1, 2, 3)) < limit)
    """,
    "RULES",
    '"drop_dark": "ltaug.synthesis.toy_rule:too_dark",',
    ("SynthesisOptions", 'drop_dark: bool = option(False, "drop dark images")\n    '
     'drop_dark_limit: float = option(1.0, "grey level below which an image is dark", owner={"drop_dark": True})'),
)  # fmt: skip
BUDGET = Extension(
    "data/toy_budget.py",
    """
    def times(amount, counts, where):
        return [int(amount) * n for n in counts]
    """,
    "FORMS",
    '"times": Entry(where="ltaug.data.toy_budget:times", about="times:N is N times the real images"),',
)
SOURCE = Extension(
    "data/toy_source.py",
    """
    import numpy as np

    from ltaug.data.imageset import ImageSet
    from ltaug.data.sources import Splits


    def read_toy(request):
        labels = np.repeat(np.arange(3), 24)
        images = np.random.RandomState(0).randint(0, 80, (72, 1, 8, 8)) + 80 * labels[:, None, None, None]
        tested = np.arange(72) % 4 == 0
        train, test = (ImageSet(images[of].astype(np.uint8), labels[of], ("a", "b", "c"), "toy") for of in (~tested, tested))
        return Splits(train, test)
    """,
    "SOURCES",
    '"toys": "ltaug.data.toy_source:read_toy",',
)
LOSS = Extension(
    "classifier/toy_loss.py",
    """
    from ltaug.classifier.losses import cross_entropy


    def toy(class_counts, *, scale=1.0):
        plain = cross_entropy(class_counts)
        return lambda *batch: scale * plain(*batch)
    """,
    "LOSSES",
    '"toy": "ltaug.classifier.toy_loss:toy",',
    ("ClassifierOptions", 'toy_scale: float = option(1.0, "toy: factor of the loss", low=0, owner={"loss": ("toy",)})'),
)
AUGMENTATION = Extension(
    "classifier/toy_augment.py",
    """
    import torch


    def halves(batch):
        partner = torch.randperm(len(batch.images), device=batch.images.device)
        share = torch.full((len(partner),), 0.5, device=batch.images.device)
        return batch.mixed((batch.images + batch.images[partner]) / 2, partner=partner, share=share)
    """,
    "CLASSIFIER_AUGMENTATIONS",
    '"toy": "ltaug.classifier.toy_augment:halves",',
)
SINK = Extension(
    "toy_sink.py",
    """
    def toy(run, label):
        def record(event):
            with (run / "toy.txt").open("a") as file:
                file.write(f"{event.text} {event.step}\\n")

        return record
    """,
    "SINKS",
    '"toy": "ltaug.toy_sink:toy",',
)
LAYOUT = Extension(
    "exporting/toy.py",
    """
    from ltaug.exporting.layouts import Written


    def bytes_alone(merged, folder):
        (folder / "toy.bin").write_bytes(b"".join(merged[i].tobytes() for i in range(len(merged))))
        return Written("toy.bin", "cut it out")
    """,
    "LAYOUTS",
    '"toy": "ltaug.exporting.toy:bytes_alone",',
)
EXTENSIONS = (REGULARISER, BACKBONE, SAMPLER, MEASURE, RULE, BUDGET, SOURCE, LOSS, AUGMENTATION, SINK, LAYOUT)
RECIPE = """
dataset = "toys"
[evaluate-generator]
extractor = "pixels"
reference = "test"
samples = 30
[train-classifier]
steps = 4
[arms.real]
[arms.toy]
fit-generator = { objective = "t2h+toy", toy-pull = 0.5, backbone = "toy", thickness = 5, steps = 4, batch-size = 8 }
synthesize = { sampler = "toy", toy-shake = 0.1, sample-steps = 3, per-class-budget = "times:1", drop-dark = true }
train-classifier = { loss = "toy", toy-scale = 0.5, augment = "shift+toy" }
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with a copy of the package, extended."""
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "ltaug"
    shutil.copytree(ROOT / "ltaug", package, ignore=shutil.ignore_patterns("__pycache__"))
    for toy in EXTENSIONS:
        (package / toy.file).write_text(textwrap.dedent(toy.text))
        add_line(package / toy.home, rf"^{toy.registry}\b[^{{]*{{\n", f"        {toy.line}\n")
        if toy.option is not None:
            where, line = toy.option
            add_line(package / "options.py", rf'^class {where}\b[^\n]*:\n    """.*?"""\n', f"\n    {line}\n")
    (folder / "toys.toml").write_text(RECIPE)
    return folder


def add_line(path: Path, after: str, line: str) -> None:
    text = path.read_text()
    (place,) = re.finditer(after, text, flags=re.M | re.S)
    path.write_text(text[: place.end()] + line + text[place.end() :])


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("fit-generator", ("t2h, h2t, full and any of toy, cbdm", "[toy|unet|vit|", "--toy-pull", "--thickness", "toys, digits")),
        ("synthesize", ("[toy|ddpm|", "--toy-shake", "--drop-dark", "times:N is N times the real images")),
        ("train-classifier", ("[toy|ce|", "--toy-scale", "toy, none, shift")),
        ("run", ("[toy|jsonl|csv]",)),
        ("export", ("[toy|imagefolder|",)),
    ],
)
def test_the_help_names_every_toy_and_its_options(extended, command, names):
    done = python(extended, "-m", "ltaug", command, "--help")
    text = " ".join(done.stdout.split())
    assert [name for name in names if name not in text] == [], text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["fit-generator", "--toy-pull", "3"], "--toy-pull 3.0 is read only with --objective cbdm+toy (it is cbdm)"),
        (["fit-generator", "--thickness", "8"], "--thickness 8 is read only with --backbone toy (it is unet)"),
        (
            ["fit-generator", "--backbone", "toy", "--channels", "24"],
            "read only with --backbone unet (it is toy)",
        ),
        (["fit-generator", "--dataset", "toyz"], "did you mean 'toys'?"),
        (["train-classifier", "--toy-scale", "2"], "--toy-scale 2.0 is read only with --loss toy (it is ce)"),
        (["train-classifier", "--loss", "toi"], "did you mean 'toy'?"),
    ],
)
def test_a_toys_option_is_refused_where_nothing_reads_it(extended, command, said):
    done = python(extended, "-m", "ltaug", *command, "--out", "never")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (extended / "never").exists()


def test_a_whole_experiment_knows_every_toy(extended):
    done = python(extended, "-m", "ltaug", "run", "toys.toml", "--out", "runs", "--log", "jsonl,toy", "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    arm = extended / "runs" / "seed-0" / "toy"
    made = json.loads((arm / "synthetic" / "run.json").read_text())
    assert made["options"]["budget"] == {"a": 18, "b": 18, "c": 18}
    assert made["options"]["synthesize"]["drop_dark"] is True
    measured = json.loads((arm / "evaluation" / "metrics.json").read_text())["summary"]
    assert 0 <= measured["brightness"] <= 255
    report = extended / "runs" / "report"
    shown = f"{measured['brightness']:.3f}"
    for page in ("report.html", "report.md"):
        text = (report / page).read_text()
        assert "Mean brightness" in text, page
        assert shown in text, page
    assert "brightness" in (report / "report.json").read_text()
    assert "training the generator 4" in (arm / "generator" / "toy.txt").read_text().splitlines()
    assert all((run.parent / "toy.txt").is_file() for run in (extended / "runs").glob("seed-*/*/*/run.json"))
    done = python(extended, "-m", "ltaug", "export", arm / "synthetic", "--to", "toy", "--out", "exported")
    assert done.returncode == 0, done.stderr
    assert (extended / "exported" / "toy.bin").stat().st_size == 54 * 8 * 8


CONFORMANCE = {
    "generator/test_generator_conformance.py": 60,
    "generator/test_generator_backbones.py": 7,
    "classifier/test_classifier_augment.py": 3,
    "classifier/test_classifier_losses.py": 1,
    "classifier/test_classifier_learning.py": 10,
}


def test_the_conformance_tests_run_over_every_toy(extended):
    files = [ROOT / "tests" / file for file in CONFORMANCE]
    done = python(extended, "-m", "pytest", *files, "-k", "toy", "-vv", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout[-4000:]
    passed = {file: len(re.findall(rf"{file}::\S*toy.* PASSED", done.stdout)) for file in CONFORMANCE}
    assert all(passed[file] >= least for file, least in CONFORMANCE.items()), passed
