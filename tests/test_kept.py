"""Later versions read, report, sample and continue what earlier ones wrote (tests/keeping.py)."""

import dataclasses
import os
import shutil
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from keeping import CPU, fit

from ltaug import stages
from ltaug.classifier import judge as judges
from ltaug.classifier.judge import Judge, load_weights
from ltaug.data.imageset import ImageSet
from ltaug.errors import CorruptError, MismatchError
from ltaug.files import read_json, sealed, write_json
from ltaug.formats import REPORT, WEIGHTS
from ltaug.manifest import read_synthetic
from ltaug.records import ClassifierRecord, GeneratorRecord, SynthesisRecord, verify_report
from ltaug.runtime import make_runtime
from ltaug.stages.remaking import remake

KEPT = sorted(Path(__file__).with_name("kept").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=KEPT, ids=lambda file: f"format {file.name.partition('.')[0]}")
def kept(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("kept")
    with tarfile.open(request.param) as archive:
        archive.extractall(root, filter="data")
    return root


def test_every_kept_experiment_is_found_whole(kept):
    found = stages.find_damage([kept])
    assert (found.runs, found.reports, found.damages) == (7, 1, ())
    assert found.unfinished == (str(kept.resolve() / "unfinished"),)
    assert "`ltaug run mini` with --out" in remake(kept / "experiment/seed-0/real/classifier")


def test_kept_classifiers_and_images_load(kept):
    runs = kept / "experiment/seed-0"
    images = read_synthetic(runs / "cbdm/synthetic")
    for arm in ("real", "resampled", "cbdm"):
        record = ClassifierRecord.read(runs / arm / "classifier", finished=True)
        judge = Judge.load(record.path, runtime=make_runtime("cpu", threads=1))
        assert record.arm == arm
        assert judge.probabilities(images.images).sum(axis=1) == pytest.approx(np.ones(len(images)), abs=1e-5)
    assert ClassifierRecord.read(runs / "cbdm/classifier").synthesis() == SynthesisRecord.read(runs / "cbdm/synthetic")


def test_a_kept_classifier_is_found_done_by_the_command_that_made_it(kept):
    made, heard = kept / "experiment/seed-0/real/classifier", []
    record = ClassifierRecord.read(made)
    dataset, given = dataclasses.asdict(record.dataset), {"steps": 5, "lr": 0.0}
    stages.train_classifier(dataset, given, out=made, seed=0, arm="real", machine=CPU, listener=heard.append)
    assert heard[-1].text == "Already done."


def test_a_kept_experiment_is_reported_on(kept, tmp_path):
    report = stages.write_report([kept / "experiment"], out=tmp_path / "report")
    assert {arm.name for arm in report.arms} == {"real", "resampled", "cbdm"}
    assert len(report.generators) == 1


def test_images_are_made_from_a_kept_generator(kept, tmp_path):
    asked = {"per_class_budget": "2", "sample_steps": 2}
    made = stages.synthesize(kept / "experiment/seed-0/cbdm/generator", asked, out=tmp_path / "made", machine=CPU)
    assert read_synthetic(made).class_counts.tolist() == [2] * 10


def test_an_image_that_changes_behind_an_unchanged_size_and_time_is_found_with_verify(kept, tmp_path):
    root = shutil.copytree(kept / "experiment", tmp_path / "experiment")
    arm, asked = root / "seed-0/cbdm", {"per_class_budget": "fill:6", "sample_steps": 3}
    synthesize = partial(stages.synthesize, arm / "generator", asked, out=arm / "synthetic")
    synthesize(machine=CPU)
    image = next((arm / "synthetic/images").rglob("*.png"))
    before, content = image.stat(), image.read_bytes()
    image.write_bytes(content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    synthesize(machine=CPU)
    with pytest.raises(CorruptError, match=image.name):
        synthesize(machine=replace(CPU, verify=True))


def test_an_unfinished_kept_fit_goes_on_from_its_checkpoint(kept, tmp_path):
    out, heard = shutil.copytree(kept / "unfinished", tmp_path / "fit"), []
    fit(out, listener=heard.append)
    assert min(event.step for event in heard if event.step) > 20
    assert GeneratorRecord.read(out, finished=True).options.steps == 40
    assert stages.find_damage([out]).damages == ()


def test_a_report_and_weights_of_a_newer_ltaug_are_refused(kept, tmp_path, monkeypatch):
    report = tmp_path / "report.json"
    write_json(report, sealed(read_json(kept / "experiment/report/report.json") | {"format": REPORT + 1}))
    weights = kept / "experiment/seed-0/real/classifier/weights.safetensors"
    model, class_names, shape = load_weights(weights)
    monkeypatch.setattr(judges, "WEIGHTS", WEIGHTS + 1)
    train = ImageSet(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64), class_names, "none")
    judges.save_weights(tmp_path / "weights", model, name="resnet8", train=train)
    monkeypatch.undo()
    with pytest.raises(MismatchError, match=f"newer ltaug .format {REPORT + 1}"):
        verify_report(tmp_path)
    with pytest.raises(MismatchError, match=f"newer ltaug .format {WEIGHTS + 1}"):
        load_weights(tmp_path / "weights")
