"""Teachers as runs: what a taught classifier records of them, and which runs may not teach."""

import shutil

import numpy as np
import pytest

import ltaug
from ltaug.errors import MismatchError, OptionError
from ltaug.machine import Machine
from ltaug.pipeline.plan import plan_classifiers
from ltaug.records import ClassifierRecord
from ltaug.runs import read_run

DIGITS = {"dataset": "digits", "imbalance": 10.0, "head": 20}
CPU = Machine(device="cpu", threads=1)


def trained(out, *, dataset=DIGITS, seed=0, given=(), **how):
    return ltaug.train_classifier(dataset, {"steps": 3, **dict(given)}, out=out, seed=seed, machine=CPU, **how)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("teacher") / "real")


def test_a_taught_classifier_records_its_teachers_and_learns_from_them(teacher, tmp_path):
    taught = trained(tmp_path / "taught", given={"distill": "real"}, teachers=[teacher])
    (found,) = ClassifierRecord.read(taught, finished=True).teachers()
    assert found.path.resolve() == teacher.resolve()
    assert read_run(taught)["outputs"]["weights.safetensors"] != read_run(teacher)["outputs"]["weights.safetensors"]
    again = trained(tmp_path / "taught", given={"distill": "real"}, teachers=[teacher])
    assert again == taught
    with pytest.raises(MismatchError, match="other options or inputs"):
        trained(tmp_path / "taught", given={"distill": "real"}, teachers=[teacher, teacher])


def test_a_run_of_another_draw_or_with_further_images_may_not_teach(teacher, tmp_path):
    other = trained(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match="was trained on other images than"):
        trained(tmp_path / "a", given={"distill": "real"}, teachers=[other])
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "made.npz", images=images, labels=np.arange(20) % 10)
    for name, how in (("with", {"synthetic": tmp_path / "made.npz"}), ("redrawn", {"resampled_to": tmp_path / "made.npz"})):
        further = trained(tmp_path / name, **how)
        with pytest.raises(MismatchError, match="was trained on more than real images"):
            trained(tmp_path / f"by-{name}", given={"distill": "real"}, teachers=[further])


def test_soft_labels_without_teachers_are_refused(tmp_path):
    with pytest.raises(OptionError, match="--distill real needs teachers"):
        trained(tmp_path / "none", given={"distill": "real"}, teachers=[])


def test_the_judges_of_a_synthesis_teach_unless_others_are_named(teacher, tmp_path):
    generator = ltaug.fit_generator(DIGITS, {"steps": 2, "channels": 4}, out=tmp_path / "gen", seed=0, machine=CPU)
    made = {"per_class_budget": "2", "select_distance": True, "band": (0.0, 1.0), "sample_steps": 2}
    judges = [teacher, trained(tmp_path / "second", given={"loss": "logit-adjusted"})]
    synthetic = ltaug.synthesize(generator, made, out=tmp_path / "syn", judges=judges, machine=CPU)
    asked = {"out": tmp_path / "clf", "seeds": 1, "synthetic": synthetic, "arm": "both"}
    for given, expected in (({"distill": "all"}, judges), ({"distill": "all", "teachers": 1}, judges[:1])):
        tasks = plan_classifiers(DIGITS, given, **asked)
        assert [t.name for t in tasks] == ["both/seed-0", "real/seed-0", "resampled-both/seed-0"]
        assert [[p.resolve() for p in t.kwargs["teachers"]] for t in tasks] == [[j.resolve() for j in expected]] * 3
    named = plan_classifiers(DIGITS, {"distill": "all"}, teachers=[judges[1]], **asked)
    assert named[0].kwargs["teachers"] == [judges[1]]
    shutil.rmtree(tmp_path / "second")
    assert plan_classifiers(DIGITS, {"distill": "all", "teachers": 1}, **asked)[0].name == "judges/judge-0"
