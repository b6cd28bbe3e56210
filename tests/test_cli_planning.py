"""`ltaug plan`: command lines, one for each stage, that together are `ltaug run`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import pytest

from ltaug.cli import main
from ltaug.errors import OptionError
from ltaug.machine import Machine
from ltaug.pipeline.plan import plan
from ltaug.recipes import read_recipe
from ltaug.runs import MARKER

RECIPE = """
dataset = "digits"
imbalance = 20
[arms.real]
[arms.ddpm.synthesize]
select-agreement = true
"""
FLAGS = ["--seeds", "2", "--first-seed", "3", "--device", "cpu", "--threads", "2", "--log", "jsonl,csv", "--download"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(RECIPE)


@pytest.fixture
def ran(monkeypatch):
    """The tasks, with their machines, that would be run; each leaves a finished run."""
    found = []

    def run_tasks(tasks, *, workers, machine, listener):
        found.append((*tasks, machine, workers))
        tasks[0].directory.mkdir(parents=True)
        (tasks[0].directory / "run.json").write_text('{"status": "finished"}')

    monkeypatch.setattr("ltaug.cli.planning.run_tasks", run_tasks)
    return found


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code, *capsys.readouterr()


def test_the_commands_of_a_plan_run_its_tasks_one_by_one_with_the_same_options(capsys, ran):
    given = ["mine.toml", "--dataset", "folder:birds", "--out", "there", *FLAGS]
    code, out, _ = call(capsys, "plan", *given, "--json")
    stages = json.loads(out)["stages"]
    recipe = read_recipe(Path("mine.toml"))
    recipe = dataclasses.replace(recipe, dataset=recipe.dataset | {"dataset": "folder:birds"})
    tasks = plan(recipe, Path("there"), 2, first_seed=3)
    assert (code, [stage["name"] for stage in stages]) == (0, [task.name for task in tasks])
    for stage, task in zip(stages, tasks, strict=True):
        assert stage["needs"] == list(task.needs)
        assert stage["outputs"] == [str(task.directory / ("report.json" if task.name == "report" else "run.json"))]
        assert stage["resources"] == {"gpu": 0, "threads": 2}
        code, out, err = call(capsys, *stage["argv"][1:], "--json", "--quiet")
        assert (code, json.loads(out)) == (0, {"stage": task.name, "run": str(task.directory)}), err
    machine = Machine(device="cpu", threads=2, log=("jsonl", "csv"), download=True)
    assert ran == [(dataclasses.replace(task, needs=()), machine, 1) for task in tasks]
    assert json.loads((Path("there") / MARKER).read_text()) == {"made_by": "ltaug run mine"}


def test_without_json_a_plan_is_a_script(capsys):
    code, out, _ = call(capsys, "plan", "mine.toml", "--out", "two words", "--seeds", "1")
    assert code == 0
    assert out.startswith("ltaug run mine.toml --seeds 1 --out 'two words' --stage seed-0/judges/judge-0\n")
    assert out.endswith("\nltaug run mine.toml --seeds 1 --out 'two words' --stage report\n")


def rules(text):
    """The rules of a Snakefile by name, whose values are Python's."""
    found = {}
    for line in text.splitlines():
        if line.startswith("rule "):
            rule = found[line.removeprefix("rule ").removesuffix(":")] = {}
            assert line == f"rule {[*found][-1]}:", "no name stands twice"
        elif line:
            key, _, value = line.removeprefix("    ").partition(": ")
            rule[key] = value if key == "resources" else eval(value, {"touch": lambda path: {path}})
    return found


def test_a_snakefile_has_a_rule_for_every_stage_which_waits_for_those_that_it_needs(capsys):
    given = ["plan", "mine.toml", "--out", "{two} words", *FLAGS]
    _, out, _ = call(capsys, *given, "--json")
    stages = json.loads(out)["stages"]
    code, out, _ = call(capsys, *given, "--snakemake")
    first, *made = rules(out).values()
    files = {f"_two_ words.done/{stage['name']}.done": stage["name"] for stage in stages}
    assert (code, files[first["input"]]) == (0, "report")
    for stage, rule in zip(stages, made, strict=True):
        assert [files[path] for path in [*rule["output"], *rule["input"]]] == [stage["name"], *stage["needs"]]
        assert shlex.split(rule["shell"].format()) == stage["argv"]
        assert (rule["threads"], rule["resources"]) == (2, "gpu=0")


def test_a_plan_has_one_form_at_a_time(capsys):
    code, out, _ = call(capsys, "plan", "mine.toml", "--snakemake", "--json")
    assert (code, "leave one of them out" in out) == (OptionError.exit_code, True)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--stage", "seed-0/rael/classifier"], "is not in the plan; did you mean 'seed-0/real/classifier'?"),
        (["--stage", "seed-0/ddpm/synthetic"], "needs seed-0/ddpm/generator, seed-0/judges/judge-0"),
        (["--stage", "report", "--workers", "2", "--dry-run"], "--workers, --dry-run is not read with --stage"),
        (["--stage", "report", "--max-seeds", "5"], "--max-seeds is not read with --stage"),
    ],
)
def test_a_stage_that_cannot_be_run_alone_is_refused_and_nothing_is_made(capsys, ran, flags, said):
    code, _, err = call(capsys, "run", "mine.toml", "--seeds", "1", "--out", "there", *flags)
    assert (code, said in err) == (OptionError.exit_code, True), err
    assert (ran, Path("there").exists()) == ([], False)
