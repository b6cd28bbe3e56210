"""The JSON Schema of recipes: it takes what ltaug takes, and editors learn from it what ltaug would refuse."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from ltaug.cli import main
from ltaug.options import STAGES, DatasetOptions
from ltaug.recipes import recipe_path, shipped_recipes
from ltaug.schema import recipe_schema

KEPT = Path(__file__).parents[1] / "docs/recipe.schema.json"
ARM = "[arms.a]\n"


def complaints(text: str) -> list[str]:
    return [error.message for error in Draft7Validator(recipe_schema()).iter_errors(tomllib.loads(text))]


def test_the_command_prints_what_docs_hold(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["schema"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == KEPT.read_text(), "run: ltaug schema > docs/recipe.schema.json"
    Draft7Validator.check_schema(json.loads(KEPT.read_text()))


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_is_valid_and_names_the_schema(name):
    path = recipe_path(name)
    first, _, text = path.read_text().partition("\n")
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == KEPT
    assert complaints(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"imbalanse = 3\n{ARM}", "imbalanse"),
        (f"{ARM}[fit-generatr]", "fit-generatr"),
        (f"{ARM}[fit-generator]\nfrom = 'b'", "from"),
        (f"{ARM}[train-classifier]\nlos = 'ce'", "los"),
        (f"{ARM}fit-generator = {{ objektive = 'cbdm' }}", "objektive"),
        (f"{ARM}synthesize = {{ guidence = 1 }}", "guidence"),
        (f"{ARM}[train-classifier]\nloss = 'ec'", "'ec'"),
        (f"{ARM}[train-classifier]\naugment = 'crop-flip+randagument'", "randagument"),
        (f"{ARM}[fit-generator]\nobjective = 'cbmd'", "cbmd"),
        (f"{ARM}[fit-generator]\nsteps = 0", "0 is less than the minimum of 1"),
        (f"{ARM}[fit-generator]\nchannel-mults = [1, 2.5]", "2.5"),
        (f"{ARM}[synthesize]\nguidance-interval = [0.2]", "[0.2]"),
        ("[arms.resampled-mine]", "resampled-mine"),
        ("[arms.judges]", "judges"),
        ("seeds = 3", "'arms' is a required property"),
    ],
)
def test_what_ltaug_refuses_is_marked(text, said):
    (only,) = complaints(text)
    assert said in only


def test_every_default_and_every_further_form_is_accepted():
    forms = [
        "dataset = 'folder:birds'\n[arms.'with space']\nfit-generator = { from = 'b', objective = 't2h+cbdm' }",
        f"{ARM}synthesize = {{ per-class-budget = 500, images-to = 's3://bucket/set' }}",
        f"{ARM}synthesize.per-class-budget = {{ '9' = 300 }}",
        f"{ARM}train-classifier = {{ model = 'convnext_tiny.in12k_ft_in1k', augment = 'shift+cutmix' }}",
    ]
    assert [complaints(text) for text in forms] == [[]] * len(forms)
    schema = Draft7Validator(recipe_schema())
    for stage, cls in {"": DatasetOptions, **STAGES}.items():
        values = {f.name.replace("_", "-"): f.metadata.get("small", f.default) for f in dataclasses.fields(cls)}
        table = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items() if v is not None}
        assert list(schema.iter_errors({"arms": {"a": {}}} | ({stage: table} if stage else table))) == []
