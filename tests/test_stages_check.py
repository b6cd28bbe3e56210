"""What cannot be done is refused before anything is computed, whichever arm and stage it stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltaug import pipeline
from ltaug.errors import BudgetError, DataError, LtaugError, OptionError
from ltaug.machine import Machine
from ltaug.pipeline.plan import check_of, plan
from ltaug.recipes import read_recipe
from ltaug.stages import check_stages

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
