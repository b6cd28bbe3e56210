"""`ltaug check`: every changed byte is found, said once with what mends it, and inputs are compared with what lies there."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from flipping import artefacts, flips, kind_of, make_experiment
from PIL import Image

from ltaug.cli import main
from ltaug.errors import OptionError
from ltaug.machine import Machine
from ltaug.stages.classifier import train_classifier
from ltaug.stages.damage import find_damage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished experiment with a cached dataset beside it."""
    root = tmp_path_factory.mktemp("check")
    make_experiment(root)
    return root


def test_a_whole_experiment_is_found_whole(made):
    found = find_damage([made])
    assert (found.damages, found.unfinished, found.reports, found.cached) == ((), (), 1, 1)
    assert found.runs == len([p for p in artefacts(made) if p.name == "run.json"])


def test_every_changed_byte_is_found_in_every_kind_of_artefact(made):
    seen = list(flips(made, 60, seed=0))
    assert {kind_of(flip.file) for flip in seen} == {kind_of(file) for file in artefacts(made)}
    assert [flip for flip in seen if flip.outcome == "missed"] == []
    assert find_damage([made]).damages == ()


def test_a_damage_is_told_once_with_its_cost_and_remedy_and_the_exit_code_is_7(made, tmp_path, capsys):
    shutil.copytree(made / "runs", tmp_path / "runs")
    synthesis = tmp_path / "runs/seed-0/cbdm/synthetic"
    next((synthesis / "images").rglob("*.png")).unlink()
    for arguments, code in (
        (["check", str(tmp_path)], 7),
        (["check", str(made), "--json"], 0),
        (["check", str(tmp_path), "--json"], 7),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == code
    text, whole, damaged = capsys.readouterr().out.rstrip("\n").rsplit("\n", 2)
    assert text.count("\n") == 1
    assert ".png is missing. Lost: no classifier can be trained on these images" in text
    assert f"delete {synthesis} and rerun the `ltaug run mini` with --out {tmp_path / 'runs'}" in text
    assert json.loads(whole)["damages"] == []
    assert len(json.loads(damaged)["damages"]) == 1


def test_a_run_whose_input_was_made_again_otherwise_and_one_without_its_record_are_told(made, tmp_path):
    shutil.copytree(made / "runs", tmp_path / "runs")
    arms = tmp_path / "runs/seed-0"
    shutil.rmtree(arms / "cbdm/synthetic")
    shutil.copytree(arms / "shards/classifier", arms / "cbdm/synthetic")
    (arms / "real/classifier/run.json").unlink()
    told = {one.path: one.what for one in find_damage([tmp_path]).damages}
    assert "run.json is missing" in told[str(arms / "real/classifier/run.json")]
    assert "was made from another" in told[str(arms / "cbdm/classifier")]


@pytest.mark.parametrize("harm", ["changed", "one less", "another class"])
def test_images_that_ltaug_did_not_make_are_compared_where_they_lie(made, tmp_path, harm):
    given = shutil.copytree(made / "runs/seed-0/cbdm/synthetic/images", tmp_path / "vendor")
    asked = {"dataset": "digits", "imbalance": 20, "head": 30}, {"steps": 2}
    run = train_classifier(*asked, synthetic=given, out=tmp_path / "fit", machine=Machine(device="cpu"))
    assert find_damage([run]).damages == ()
    image = next(given.rglob("*.png"))
    if harm == "changed":
        Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    elif harm == "one less":
        image.unlink()
    else:
        image.parent.rename(given / "eleven")
    (one,) = find_damage([run]).damages
    assert one.what == f"{run} was made with other images than lie in {given} now"
    shutil.rmtree(given)
    assert find_damage([run]).damages == ()


def test_a_directory_without_anything_of_ltaugs_is_an_option_error(tmp_path):
    with pytest.raises(OptionError, match="no run, report or cached dataset"):
        find_damage([tmp_path])
