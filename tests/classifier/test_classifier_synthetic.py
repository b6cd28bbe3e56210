"""train-classifier with synthetic images of any origin: what it records, what it refuses, and what the report says of it."""

import json

import numpy as np
import pytest
from forking import fork_workers
from PIL import Image

from ltaug import stages
from ltaug.cli import main
from ltaug.data.load import load_dataset
from ltaug.errors import LeakError, MismatchError
from ltaug.machine import Machine
from ltaug.options import DatasetOptions
from ltaug.records import ClassifierRecord
from ltaug.report.collect import collect
from ltaug.report.gates import gates
from ltaug.runs import read_run

CPU = Machine(device="cpu", threads=1)
DRAW = {"dataset": "digits", "imbalance": 10, "head": 12}
TINY = {"steps": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def digits():
    return load_dataset(DatasetOptions(**DRAW), seed=3)


def tree(root, images):
    for i, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        folder = root / images.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{i}.png")
    return root


def train(out, synthetic, *, arm="vendor", listener=lambda event: None, dataset=DRAW):
    how = {"machine": CPU, "listener": listener}
    return stages.train_classifier(dataset, TINY, synthetic=synthetic, arm=arm, out=out, seed=3, **how)


def test_a_foreign_tree_is_recorded_gated_reported_and_shown(digits, tmp_path):
    fresh = digits.rest.take(np.flatnonzero(digits.rest.labels != 7)[:60])
    said = []
    train(tmp_path / "runs/vendor", tree(tmp_path / "made", fresh), listener=lambda event: said.append(event.text))
    train(tmp_path / "runs/real", None, arm="real")
    record = ClassifierRecord.read(tmp_path / "runs/vendor")
    assert record.synthetic_origin == "folder"
    assert record.synthesis() is None
    assert sum(record.synthetic_counts) == 60
    assert record.synthetic_counts[7] == 0
    written = read_run(record.path)
    assert {k: v for k, v in written["inputs"]["synthetic"].items() if k != "digest"} == {
        "path": "../../made",
        "images": 60,
        "origin": "folder",
    }
    assert [note for note in written["facts"]["synthetic_notes"] if "of class 7" in note]
    assert set(written["facts"]["synthetic_notes"]) <= set(said)
    assert {k: record.overlap[k] for k in ("checked", "images", "near_test")} == {"checked": 60, "images": 60, "near_test": 0}
    assert 0 < record.overlap["test_limit"] < record.overlap["train_limit"]
    assert record.duplicates == {"within_train": 0, "test_in_train": 0}
    alone = ClassifierRecord.read(tmp_path / "runs/real")
    assert (alone.synthetic_origin, alone.overlap, alone.duplicates) == ("", {}, record.duplicates)
    found = {gate.kind: gate for gate in gates(collect([tmp_path / "runs"]))}
    assert {kind: gate.outcome for kind, gate in found.items()} == {
        "leak": "ok",
        "copies": "ok",
        "duplicates": "ok",
        "origin": "warn",
    }
    report = stages.write_report([tmp_path / "runs"], out=tmp_path / "report", machine=CPU)
    assert found["origin"].text in (tmp_path / "report/report.md").read_text()
    assert [c.distance for c in report.gallery.copies] == [distance for *_, distance in record.overlap["closest"]]
    by_class = {row.class_name: row for row in report.gallery.rows}
    assert (by_class["7"].synthetic, by_class["7"].synthetic_count) == ("", 0)
    assert by_class["3"].synthetic.startswith("data:image/png")
    next((tmp_path / "made/3").iterdir()).unlink()
    without = stages.write_report([tmp_path / "runs"], out=tmp_path / "report", machine=CPU)
    assert without.gallery is None
    assert "no longer lie" in without.notes["images"][0]


@pytest.mark.parametrize("form", ["tree", "a.npz"])
def test_leaked_test_images_are_named_and_nothing_is_trained(digits, tmp_path, form):
    made = tmp_path / form
    if form == "tree":
        tree(made, digits.test)
        name, number = "0/103.png", 103  # the first in the order of names
    else:
        np.savez(made, images=digits.test.images, labels=digits.test.labels)
        name, number = "image 0", 0
    with pytest.raises(LeakError, match=r"500 of 500 synthetic images show test images: 100.0 %, where at most 1 % may") as error:
        train(tmp_path / "clf", made)
    assert f"({name} shows test image {number} (class {digits.test.labels[number]}); " in str(error.value)
    assert ", and 495 more)" in str(error.value)
    assert not (tmp_path / "clf/run.json").exists(), "the corrected command may have the directory"


def test_copies_of_the_training_images_are_told_in_the_gates(digits, tmp_path):
    np.savez(tmp_path / "copies.npz", images=digits.train.images, labels=digits.train.labels)
    train(tmp_path / "clf", tmp_path / "copies.npz", arm="copies")
    found = {gate.kind: gate for gate in gates(collect([tmp_path / "clf"]))}
    assert (found["copies"].outcome, found["copies"].arms) == ("warn", ("copies",))
    assert "copies 100 %; limit 5 %" in found["copies"].text
    assert found["leak"].outcome == "ok"


def test_test_images_among_the_training_images_are_said(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    images[1] = images[0]
    arrays = {"labels": np.arange(40) % 2, "test_images": images[[0, 2, 5]], "test_labels": np.array([0, 0, 1])}
    np.savez(tmp_path / "set.npz", images=images, **arrays)
    said = []
    dataset = {"dataset": str(tmp_path / "set.npz")}
    path = train(tmp_path / "clf", None, listener=lambda event: said.append(event.text), dataset=dataset)
    assert ClassifierRecord.read(path).duplicates == {"within_train": 1, "test_in_train": 3}
    assert "3 of 3 test images are training images too." in said
    (gate,) = gates(collect([path]))
    assert (gate.kind, gate.outcome) == ("duplicates", "warn")
    assert gate.text == "3 test images are training images too, which flatters every arm; 1 training image repeats another."


def test_a_synthesis_is_as_before_and_says_where_its_images_come_from(tmp_path):
    sampled = {"sample_steps": 2, "per_class_budget": "1"}
    tiny = {"steps": 1, "channels": 8, "batch_size": 4, "channel_mults": [1, 1], "attention": []}
    generator = stages.fit_generator(DRAW, tiny, out=tmp_path / "gen", seed=3, machine=CPU)
    synthetic = stages.synthesize(generator, sampled, out=tmp_path / "syn", machine=CPU)
    record = ClassifierRecord.read(train(tmp_path / "clf", synthetic))
    assert record.synthetic_origin == "synthesize"
    assert record.synthesis().path == synthetic.resolve()
    assert record.overlap["images"] == 10
    assert {gate.kind for gate in gates(collect([tmp_path / "clf"]))} == {"leak", "copies", "duplicates"}
    with pytest.raises(MismatchError, match="made for another draw"):
        train(tmp_path / "other", synthetic, dataset=DRAW | {"head": 14})


def test_the_command_takes_images_with_their_dataset_and_ends_with_9_where_they_leak(digits, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fork_workers(monkeypatch)
    tree(tmp_path / "leak", digits.test)
    np.savez("made.npz", images=digits.rest.images[:50], labels=digits.rest.labels[:50])
    dataset = ["--dataset", "digits", "--imbalance", "10", "--head", "12", "--seed", "3"]

    def call(*arguments):
        common = ["train-classifier", "--steps", "1", "--device", "cpu", "--workers", "1", "--no-baseline"]
        with pytest.raises(SystemExit) as ended:
            main([*common, *arguments])
        return ended.value.code, *capsys.readouterr()

    code, _, err = call("--synthetic", "made.npz", "--out", "a")
    assert (code, "made.npz is not a synthesize run" in err) == (2, True)
    code, _, err = call(*dataset, "--synthetic", "leak", "--out", "b")
    assert (code, "remove these images, or make others without the test images" in err) == (9, True)
    code, out, _ = call(*dataset, "--synthetic", "made.npz", "--out", "c", "--dry-run")
    assert (code, "comparing them with the real ones come on top" in out) == (0, True)
    code, out, _ = call(*dataset, "--synthetic", "made.npz", "--out", "c", "--json")
    assert (code, json.loads(out)["arms"].keys()) == (0, {"real+synthetic"})
    assert ClassifierRecord.read(tmp_path / "c/real+synthetic/seed-3").synthetic_origin == "npz"


def test_above_32_pixels_copies_are_searched_in_the_features_of_the_judges_of_a_synthesis_or_of_the_teachers(tmp_path):
    rng = np.random.default_rng(0)
    images, tests = (rng.integers(0, 256, (n, 40, 40), dtype=np.uint8) for n in (20, 6))
    labels = {"labels": np.arange(20) % 2, "test_labels": np.arange(6) % 2}
    np.savez(tmp_path / "noise.npz", images=images, test_images=tests, **labels)
    noise = {"dataset": str(tmp_path / "noise.npz")}
    judge = train(tmp_path / "judge", None, dataset=noise)
    tiny = {"steps": 1, "channels": 8, "batch_size": 4, "channel_mults": [1, 1], "attention": []}
    generator = stages.fit_generator(noise, tiny, out=tmp_path / "generator", seed=3, machine=CPU)
    few = {"per_class_budget": "2", "sample_steps": 2}
    for name, judges in (("judged", [judge]), ("plain", [])):
        stages.synthesize(generator, few, out=tmp_path / name, judges=judges, machine=CPU)
    np.savez(tmp_path / "copies.npz", images=images[..., ::-1], labels=labels["labels"])

    def found(out, synthetic, given=TINY, teachers=None):
        how = {"synthetic": tmp_path / synthetic, "teachers": teachers, "seed": 3, "machine": CPU}
        return ClassifierRecord.read(stages.train_classifier(noise, given, out=tmp_path / out, **how)).overlap

    assert 0 <= found("a", "judged")["near_features"] <= 1
    assert found("b", "plain")["near_features"] is None
    taught = TINY | {"distill": "all", "teachers": 1}
    assert found("c", "copies.npz", taught, [judge])["near_features"] == 1
    assert found("d", "copies.npz")["near_features"] is None
