"""Outside weights in run.json: what loads them lists them, and what takes such a run inherits them in a role of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from rewriting import rewrite
from safetensors.torch import save_file

from ltaug import stages
from ltaug.files import file_digest
from ltaug.machine import Machine
from ltaug.outside import Outside
from ltaug.records import ClassifierRecord, EvaluationRecord, GeneratorRecord, SynthesisRecord
from ltaug.runs import read_run

CPU = Machine(device="cpu", threads=1)
FAST = {"steps": 2, "batch_size": 4, "augment": "none"}
TINY = {"steps": 1, "channels": 8, "batch_size": 4, "channel_mults": [1]}
ONE = {"per_class_budget": "1", "sample_steps": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of every stage, some of them made with outside weights; the folder they are in, and these."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), folder / "net.safetensors")
    rng = np.random.default_rng(0)
    images, tests = (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (12, 4))
    labels = {"labels": np.arange(12) % 2, "test_labels": np.arange(4) % 2}
    np.savez(folder / "noise.npz", images=images, test_images=tests, **labels)
    noise = {"dataset": str(folder / "noise.npz")}
    start = {"model": "test_resnet.r160_in1k", "pretrained": str(folder / "net.safetensors")}
    own = Outside(role="classifier", name=start["model"], files={"net.safetensors": file_digest(folder / "net.safetensors")})

    def train(name, given=start, **how):
        return stages.train_classifier(noise, FAST | dict(given), out=folder / name, machine=CPU, **how)

    train("started")
    generator = stages.fit_generator(noise, TINY, out=folder / "generator", machine=CPU)
    stages.synthesize(generator, ONE, out=folder / "plain", machine=CPU)
    judged = stages.synthesize(generator, ONE, out=folder / "judged", judges=[folder / "started"] * 2, machine=CPU)
    guided = TINY | {"objective": "ddpm+aid"}
    stages.fit_generator(noise, guided, out=folder / "guided", judges=[folder / "started"], machine=CPU)
    stages.fit_generator({}, {"steps": 1, "batch_size": 4}, out=folder / "tuned", source=folder / "guided", machine=CPU)
    stages.synthesize(folder / "tuned", ONE, out=folder / "of-tuned", machine=CPU)
    looked = {"extractor": f"classifier:{folder / 'started'}", "samples": 4, "sample_steps": 2}
    stages.evaluate_generator(folder / "tuned", looked, out=folder / "evaluation", machine=CPU)
    taught = {"distill": "all", "teachers": 1}
    train("taught", taught, teachers=[folder / "started"])
    train("with-judged", synthetic=judged)
    train("resampled", {}, resampled_to=judged)
    how = {"number": 0, "repeat": 0, "repeats": 1, "fold": 0, "folds": 2, "seed": 0}
    stages.cross_fit(generator, FAST | start, out=folder / "fold", synthetic=judged, machine=CPU, **how)
    return folder, replace(own, licence="apache-2.0", trained_on="ImageNet-1k")


@pytest.mark.parametrize(
    ("record", "name", "roles"),
    [
        (ClassifierRecord, "started", ["classifier"]),
        (GeneratorRecord, "generator", []),
        (SynthesisRecord, "plain", []),
        (SynthesisRecord, "judged", ["judge"]),
        (GeneratorRecord, "guided", ["judge"]),
        (GeneratorRecord, "tuned", ["judge"]),
        (SynthesisRecord, "of-tuned", ["judge"]),
        (EvaluationRecord, "evaluation", ["judge", "extractor"]),
        (ClassifierRecord, "taught", ["teacher"]),
        (ClassifierRecord, "with-judged", ["classifier", "judge"]),
        (ClassifierRecord, "resampled", []),
    ],
)
def test_a_run_lists_its_own_outside_weights_and_those_behind_its_inputs_once(runs, record, name, roles):
    folder, own = runs
    assert record.read(folder / name).outside == tuple(replace(own, role=role) for role in roles)


def test_a_fold_lists_them_too_and_a_run_without_any_has_no_such_fact(runs):
    folder, _ = runs
    assert [one["role"] for one in read_run(folder / "fold")["facts"]["outside"]] == ["classifier", "judge"]
    assert "outside" not in read_run(folder / "plain")["facts"]


def test_a_classifier_starts_from_what_it_loaded_itself_alone(runs):
    folder, own = runs
    assert ClassifierRecord.read(folder / "with-judged").start == tuple(own.files.values())
    assert ClassifierRecord.read(folder / "taught").start == ()


def test_the_fact_of_pretrained_classifiers_that_came_before_is_read_as_this_one(runs):
    folder, own = runs
    path = folder / "started"
    facts = json.loads((path / "run.json").read_text())["facts"]
    del facts["outside"]
    early = {"model": own.name, "file": "net.safetensors", "licence": "apache-2.0", "url": "x"}
    rewrite(path, facts=facts | {"pretrained": early})
    assert ClassifierRecord.read(path).outside == (replace(own, trained_on=None),)
