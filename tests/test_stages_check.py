"""What cannot be done is refused before anything is computed, whichever arm and stage it stands in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ltaug import pipeline
from ltaug.errors import BudgetError, DataError, LtaugError, OptionError
from ltaug.fields import checked
from ltaug.machine import Machine
from ltaug.options import NETWORK, GeneratorOptions
from ltaug.pipeline.plan import check_of, plan, plan_classifiers
from ltaug.recipes import read_recipe
from ltaug.stages import check_stages, evaluate_generator, fit_generator, inspect, synthesize, train_classifier

RECIPE = """
dataset = "digits"
imbalance = 20
[fit-generator]
steps = 5
[arms.real]
[arms.good.fit-generator]
objective = "ddpm"
"""


def recipe_with(tmp_path: Path, extra: str):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE + extra)
    return read_recipe(path)


def check(recipe, tmp_path: Path, machine: Machine) -> None:
    task = check_of(plan(recipe, tmp_path / "out"))
    assert task.function == "check_stages"
    check_stages(**task.kwargs, machine=machine)


@pytest.mark.parametrize(
    ("extra", "error", "said"),
    [
        ("[arms.bad.fit-generator]\nbackbone = 'vit'\npatch = 3", OptionError, "images of 8x8 cannot be cut into patches of 3x3"),
        ("[arms.bad.fit-generator]\nchannel-mults = [1, 2, 2, 2, 2]", OptionError, "cannot be halved 4 times"),
        ("[arms.bad.synthesize]\nper-class-budget = 'fill:1'", BudgetError, "leaves nothing to generate"),
        ("[arms.bad.synthesize]\nguidance-interval = [0.2, 0.7]", OptionError, "is read only with --guidance above 0"),
        ("[arms.bad.evaluate-generator]\nextractor = 'dinov2'\n[arms.bad.fit-generator]", DataError, "needs dinov2_vitb14"),
        ("[arms.bad.evaluate-generator]\nextractor = 'classifier:gone'\n[arms.bad.fit-generator]", LtaugError, "gone"),
        ("[arms.bad.train-classifier]\nmodel = 'vit_tiny_patch16_224'", OptionError, "cannot take images of 1x8x8"),
    ],
)
def test_what_these_images_do_not_allow_is_refused(tmp_path, extra, error, said):
    machine = Machine(device="cpu", data_dir=tmp_path)
    check(recipe_with(tmp_path, ""), tmp_path, machine)
    with pytest.raises(error, match=said):
        check(recipe_with(tmp_path, extra), tmp_path, machine)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


def test_a_way_to_compute_that_an_arm_does_not_allow_is_refused(tmp_path):
    recipe = recipe_with(tmp_path, "[arms.coral.fit-generator]\nobjective = 'coral'")
    check(recipe, tmp_path, Machine(device="cpu"))
    with pytest.raises(OptionError, match=r"--micro-batch 8 does not go with --objective coral"):
        check(recipe, tmp_path, Machine(device="cpu", micro_batch=8))


def test_every_stage_waits_for_the_check(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(pipeline, "run_tasks", lambda tasks, **how: ran.extend(tasks) or {"report": None})
    pipeline.run_recipe(recipe_with(tmp_path, ""), out=tmp_path / "out")
    first, *others = ran
    assert first.name == "check"
    assert others
    assert all("check" in task.needs for task in others)


@pytest.mark.parametrize(
    ("stage", "given"),
    [
        (fit_generator, {"objective": "cbmd"}),
        (fit_generator, {"patch": 4}),
        (synthesize, {"sampler": "dpmpp"}),
        (synthesize, {"band": (0.0, 0.5)}),
        (evaluate_generator, {"extractor": "inceptoin"}),
        (train_classifier, {"loss": "logit-ajusted"}),
        (train_classifier, {"loss": "ce", "adjust_tau": 2.0}),
    ],
)
def test_an_api_call_refuses_its_options_before_it_looks_at_anything_else(tmp_path, stage, given):
    from_nowhere = {"dataset": "folder:nowhere"} if stage in (fit_generator, train_classifier) else tmp_path / "nowhere"
    with pytest.raises(OptionError, match=next(iter(given)).replace("_", "-")):
        stage(from_nowhere, given, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_the_network_of_a_finished_generator_decides_is_not_refused_before_it_is_known():
    assert checked(GeneratorOptions, {"patch": 4}, where="options", unsettled=NETWORK) == {"patch": 4}
    with pytest.raises(OptionError, match="is read only with --backbone vit"):
        checked(GeneratorOptions, {"patch": 4}, where="options")


def test_a_single_class_is_refused_by_what_trains_and_not_by_inspect(tmp_path):
    np.savez(tmp_path / "one.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.zeros(9, int), class_names=["cat"])
    dataset = {"dataset": str(tmp_path / "one.npz")}
    assert inspect(dataset)["classes"] == ["cat"]
    for make in (
        lambda: fit_generator(dataset, {}, out=tmp_path / "out"),
        lambda: train_classifier(dataset, {}, out=tmp_path / "out"),
        lambda: check_stages([("train-classifier", dataset, {}, None)], seed=0),
    ):
        with pytest.raises(DataError, match=r"one\.npz has a single class, 'cat', so there is nothing to classify"):
            make()
    assert [p.name for p in tmp_path.iterdir()] == ["one.npz"]


def test_more_seeds_than_can_be_planned_are_refused(tmp_path):
    recipe, limit = recipe_with(tmp_path, ""), "must be a whole number of at least 1 and at most 1,000"
    (tmp_path / "mine.toml").write_text("seeds = 100000000" + RECIPE)
    with pytest.raises(OptionError, match=f"recipe mine.toml: seeds = 100000000 {limit}"):
        read_recipe(tmp_path / "mine.toml")
    for number in (1001, 100_000_000):
        with pytest.raises(OptionError, match=f"--seeds {number} {limit}"):
            pipeline.run_recipe(recipe, out=tmp_path / "out", seeds=number)
        with pytest.raises(OptionError, match=f"--seeds {number} {limit}"):
            plan_classifiers({}, {}, out=tmp_path, seeds=number, synthetic=None, arm="x")
        with pytest.raises(OptionError, match=f"--max-seeds {number} {limit}"):
            pipeline.run_until_decided(recipe, out=tmp_path / "out", max_seeds=number)
    assert len(plan_classifiers({}, {}, out=tmp_path, seeds=1000, synthetic=None, arm="x")) == 1000
