"""The control: a classifier trained on real images drawn again to the class counts of synthetic ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from ltaug import stages
from ltaug.classifier.stage import run_classifier
from ltaug.data.imageset import ImageSet
from ltaug.data.longtail import resample
from ltaug.errors import MismatchError, OptionError
from ltaug.fields import resolve
from ltaug.machine import Machine
from ltaug.options import ClassifierOptions, DatasetOptions
from ltaug.records import ClassifierRecord, SynthesisRecord
from ltaug.report.collect import collect
from ltaug.runs import ignore_events, open_run, read_run
from ltaug.runtime import derive_seed, make_runtime
from ltaug.stages.opening import load_data

MACHINE = Machine(device="cpu", threads=1)
DRAW = {"dataset": "digits", "imbalance": 10, "head": 12}
TRAINING = {"steps": 4, "synthetic_weight": 0.5, "loss": "logit-adjusted"}
FIT = {"steps": 1, "channels": 8, "batch_size": 4, "channel_mults": [1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A synthesis, and classifiers trained on it, on its control and on real images alone."""
    folder = tmp_path_factory.mktemp("control")
    generator = stages.fit_generator(DRAW, FIT, out=folder / "generator", machine=MACHINE)
    asked = {"sample_steps": 1, "per_class_budget": "fill:15"}
    synthetic = stages.synthesize(generator, asked, out=folder / "synthetic", machine=MACHINE)
    for arm, images in {"alone": {}, "resampled": {"resampled_to": synthetic}, "made": {"synthetic": synthetic}}.items():
        stages.train_classifier(DRAW, TRAINING, **images, arm=arm, out=folder / "runs" / arm, seed=0, machine=MACHINE)
    return folder


def drawn() -> tuple[ImageSet, ImageSet]:
    data = load_data(resolve(DatasetOptions, DRAW, image_side=0, where="dataset"), 0, MACHINE, "test", ignore_events)
    return data.train, data.test


def test_a_control_is_bit_for_bit_the_run_whose_synthetic_images_are_the_resampled_ones(folder, tmp_path):
    (train, test), runtime = drawn(), make_runtime("cpu", threads=1)
    wanted = SynthesisRecord.read(folder / "synthetic").kept
    counts = [wanted[name] for name in train.class_names]
    assert counts == (15 - train.class_counts).tolist()
    again = resample(train, counts, seed=derive_seed(0, "resample"))
    options = resolve(ClassifierOptions, TRAINING, image_side=8)
    told = {"stage": "train-classifier", "label": "x", "seed": 0, "options": {}, "inputs": {}, "versions": {}}
    with open_run(tmp_path / "same", **told, device=runtime.describe()) as run:
        run_classifier(train, test, again, options, run=run, runtime=runtime, seed=0)
    assert read_run(tmp_path / "same")["outputs"] == read_run(folder / "runs/resampled")["outputs"]
    weights = {arm: read_run(folder / "runs" / arm)["outputs"]["weights.safetensors"] for arm in ("alone", "resampled", "made")}
    assert len(set(weights.values())) == 3


def test_a_control_says_what_it_was_resampled_to_and_counts_as_without_synthetic_images(folder):
    real, control, made = (ClassifierRecord.read(folder / "runs" / arm) for arm in ("alone", "resampled", "made"))
    assert (control.synthetic_counts, control.synthetic_run, control.synthesis()) == (None, None, None)
    assert control.resampled_counts == made.synthetic_counts
    assert real.resampled_counts is None
    assert made.resampled_counts is None
    inputs = {arm: read_run(folder / "runs" / arm)["inputs"] for arm in ("resampled", "made")}
    assert inputs["resampled"]["resampled_to"] == inputs["made"]["synthetic"]
    assert inputs["resampled"]["resampled_to"]["path"] == "../../synthetic"
    assert (real.steps, control.steps, made.steps) == (4, 4, 4)
    experiment = collect([folder / "runs" / arm for arm in ("resampled", "made", "alone")])
    assert {arm: experiment.synthetic(arm) for arm in experiment.results} == {"resampled": False, "made": True, "alone": False}
    assert experiment.baseline == "alone", "others are not compared with a control unless asked for"


def test_a_finished_control_is_not_taken_for_a_run_on_synthetic_images(folder):
    path = folder / "runs" / "resampled"
    before = {p: p.stat().st_mtime_ns for p in path.iterdir() if p.name != ".lock"}
    asked = {"arm": "resampled", "out": path, "seed": 0, "machine": MACHINE}
    stages.train_classifier(DRAW, TRAINING, resampled_to=folder / "synthetic", **asked)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    with pytest.raises(MismatchError, match=r"inputs\.resampled_to"):
        stages.train_classifier(DRAW, TRAINING, synthetic=folder / "synthetic", **asked)


def test_synthetic_images_and_their_control_are_two_classifiers(tmp_path):
    both = {"synthetic": Path("a"), "resampled_to": Path("b")}
    with pytest.raises(OptionError, match="synthetic = a does not go with resampled_to = b"):
        stages.train_classifier(DRAW, {}, **both, out=tmp_path / "out", machine=MACHINE)


def test_the_steps_of_a_run_are_recorded_where_the_options_give_epochs(tmp_path):
    """Also of images above 16 pixels, whose steps follow from epochs, and with synthetic images the same number."""
    labels = np.repeat(np.arange(2), [30, 10]).astype(np.int64)
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=labels, test_images=images, test_labels=labels)
    dataset = {"dataset": str(tmp_path / "set.npz")}
    training = {"model": "resnet8", "epochs": 2, "batch_size": 16}
    generator = stages.fit_generator(dataset, FIT, out=tmp_path / "generator", machine=MACHINE)
    asked = {"sample_steps": 1, "guidance": 0.0}
    synthetic = stages.synthesize(generator, asked, out=tmp_path / "synthetic", machine=MACHINE)
    for arm, added in {"real": {}, "control": {"resampled_to": synthetic}, "made": {"synthetic": synthetic}}.items():
        path = stages.train_classifier(dataset, training, **added, arm=arm, out=tmp_path / arm, machine=MACHINE)
        record = ClassifierRecord.read(path)
        assert (record.steps, record.options.steps) == (5, None), "2 passes over 40 images in batches of 16"
        told = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        assert told[-1]["step"] == 5
