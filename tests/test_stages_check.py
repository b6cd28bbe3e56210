"""What cannot be done is refused before anything is computed, whichever arm and stage it stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltaug import pipeline
from ltaug.errors import BudgetError, DataError, LtaugError, OptionError
from ltaug.fields import checked
from ltaug.machine import Machine
from ltaug.options import NETWORK, GeneratorOptions
from ltaug.pipeline.plan import check_of, plan
from ltaug.recipes import read_recipe
from ltaug.stages import check_stages, evaluate_generator, fit_generator, synthesize, train_classifier

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
