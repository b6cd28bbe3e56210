"""The command line: help, options and where they come from, errors in one line, what goes to which stream."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from ltaug.cli import main
from ltaug.cli.commands import group
from ltaug.fields import SMALL_SIDE
from ltaug.machine import COMPUTING, FITTING, NETWORKS, READING, Machine
from ltaug.options import STAGES, DatasetOptions
from ltaug.runs import Event

RECIPE = """
dataset = "digits"
imbalance = 50
seeds = 4
[fit-generator]
steps = 11
channels = 24
[arms.real]
[arms.cbdm.fit-generator]
steps = 22
[arms.tuned.fit-generator]
from = "cbdm"
steps = 5
"""


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def fitted(monkeypatch):
    """What fit_generator was called with, instead of fitting."""
    from ltaug import stages

    calls = []

    def fit_generator(dataset, given, *, out, source, judges, seed, machine, listener, place):
        told = {
            "dataset": dataset,
            "given": given,
            "out": out,
            "source": source,
            "seed": seed,
            "machine": machine,
            "place": place,
        }
        calls.append(told)
        listener(Event("gen", "fitting", 1, 2))
        out.mkdir()
        record = {"stage": "fit-generator", "seed": seed or 0, "status": "finished", "timings": {"fit": 1.0}}
        nothing = {key: {} for key in ("outputs", "device", "facts", "options", "inputs", "versions")}
        (out / "run.json").write_text(json.dumps(record | nothing))
        return out

    monkeypatch.setattr(stages, "fit_generator", fit_generator)
    return calls


@pytest.mark.parametrize("command", [None, *group.commands])
def test_every_command_explains_itself_with_an_example(capsys, command):
    code, out, _ = call(capsys, *([command] if command else []), "--help")
    assert code == 0
    assert f"ltaug {command or 'run'} " in out.split("Options:")[0] or command is None
    assert "\n\n\n" not in out


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_of_a_stage_is_a_flag_with_its_defaults(stage):
    options = {o.name: o for o in group.commands[stage].params}
    for f in dataclasses.fields(STAGES[stage]):
        assert options[f.name].help.startswith(f.metadata["help"])
        assert ("small" in f.metadata) == (f"for images up to {SMALL_SIDE} px" in options[f.name].help)
    for f in dataclasses.fields(Machine):
        assert (f.name in options) == (stage == "fit-generator" or f.metadata["part"] != FITTING)
    if stage not in ("evaluate-generator", "synthesize"):
        assert {f.name for f in dataclasses.fields(DatasetOptions)} <= set(options)


def test_how_something_is_computed_is_asked_of_the_commands_that_compute_it_and_of_no_other(capsys, fitted, tmp_path):
    offering = {}
    for part in (READING, COMPUTING, NETWORKS, FITTING):
        named = {f.name for f in dataclasses.fields(Machine) if f.metadata["part"] == part}
        taken = {name: named & {o.name for o in command.params} for name, command in group.commands.items()}
        assert all(found in (set(), named) for found in taken.values())
        offering[part] = {name for name, found in taken.items() if found}
    assert offering[FITTING] == {"fit-generator", "plan", "run"}
    assert offering[NETWORKS] == offering[FITTING] | {"evaluate-generator", "grow", "synthesize", "train-classifier"}
    assert offering[COMPUTING] == offering[NETWORKS] | {"doctor"}
    assert offering[READING] == offering[NETWORKS] | {"export", "inspect", "report"}
    flags = ["--plain", "--checkpoint-activations", "--micro-batch", "8", "--compile", "no", "--precision", "fp32"]
    assert call(capsys, "fit-generator", *flags, "--out", str(tmp_path / "gen"), "--quiet")[0] == 0
    (made,) = fitted
    assert made["machine"] == Machine(plain=True, checkpoint_activations=True, micro_batch=8, compile="no", precision="fp32")
    code, _, err = call(capsys, "fit-generator", "--micro-batch", "0", "--out", str(tmp_path / "none"))
    assert (code, "micro-batch = 0 must be at least 1" in err) == (2, True)


def test_only_what_was_given_reaches_the_stage(capsys, fitted, tmp_path):
    flags = ["--imbalance", "100", "--channel-mults", "1,2", "--no-flip", "--attention", "none", "--seed", "3", "--skip-bad"]
    assert call(capsys, "fit-generator", *flags, "--out", str(tmp_path / "gen"), "--quiet")[0] == 0
    (made,) = fitted
    assert made["dataset"] == {"imbalance": 100.0}
    assert made["given"] == {"channel_mults": (1, 2), "flip": False, "attention": ()}
    assert made["seed"] == 3
    assert made["machine"] == Machine(skip_bad=True)


def test_flag_goes_before_environment_before_recipe(capsys, fitted, tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text(RECIPE)
    recipe = ["--recipe", str(tmp_path / "mine.toml")]
    names = iter("abcd")
    fit = lambda *flags: call(capsys, "fit-generator", *flags, "--out", str(tmp_path / next(names)), "--quiet")  # noqa: E731
    assert fit(*recipe)[0] == 0
    assert fit(*recipe, "--arm", "cbdm")[0] == 0
    monkeypatch.setenv("LTAUG_FIT_GENERATOR_STEPS", "33")
    monkeypatch.setenv("LTAUG_DEVICE", "cpu")
    assert fit("--arm", "cbdm", *recipe)[0] == 0
    assert fit(*recipe, "--steps", "44")[0] == 0
    assert [c["given"]["steps"] for c in fitted] == [11, 22, 33, 44]
    assert all(c["given"]["channels"] == 24 and c["dataset"] == {"dataset": "digits", "imbalance": 50.0} for c in fitted)
    assert [c["machine"].device for c in fitted] == ["auto", "auto", "cpu", "cpu"]


def test_the_result_goes_to_stdout_and_progress_to_stderr(capsys, fitted, tmp_path):
    code, out, err = call(capsys, "fit-generator", "--out", str(tmp_path / "gen"), "--json")
    assert code == 0
    assert json.loads(out)["run"] == str(tmp_path / "gen")
    assert err == "gen: fitting 1/2\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["inspect", "digits", "--imbalanse", "3"], 2, "Did you mean '--imbalance'?"),
        (["inspekt"], 2, "Did you mean 'inspect'?"),
        (["inspect", "digits", "--imbalance", "0.5"], 2, "imbalance = 0.5 must be at least 1"),
        (["inspect", "digits", "--profile", "foo"], 2, "profile = 'foo': there are exp, step"),
        (["inspect", "digit"], 2, "did you mean 'digits'?"),
        (["inspect", "folder:no/such/place"], 3, "no/such/place"),
        (["run", "no-such-recipe"], 2, "no recipe 'no-such-recipe'"),
        (["run", "digits-lt", "--seeds", "5", "--until-decided"], 2, "--seeds 5 does not go with --until-decided"),
        (["run", "digits-lt", "--max-seeds", "5"], 2, "--max-seeds 5 is read only with --until-decided"),
        (["run", "digits-lt", "--until-decided", "--max-seeds", "2"], 2, "--max-seeds 2 must be at least 3"),
        (["fit-generator", "--channel-mults", "1,x", "--out", "gen"], 2, "such as 1,2,2"),
        (["fit-generator"], 2, "Missing option '--out'"),
        (["fit-generator", "--arm", "cbdm", "--out", "gen"], 2, "--arm cbdm needs --recipe"),
        (["fit-generator", "--from", "nowhere", "--out", "gen"], 2, "'nowhere' does not exist"),
        (["fit-generator", "--from", ".", "--out", "gen"], 7, "run.json is missing"),
        (["synthesize", "nowhere", "--out", "syn"], 2, "'nowhere' does not exist"),
        (["synthesize", ".", "--out", "syn"], 7, "run.json is missing"),
        (["train-classifier", "--synthetic", ".", "--out", "clf"], 2, "so nothing says which dataset its images belong to"),
        (["report", ".", "--out", "rep"], 2, "no finished classifier run"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_mistake_is_one_line_and_its_own_exit_code(capsys, tmp_path, monkeypatch, arguments, code, said, as_json):
    monkeypatch.chdir(tmp_path)
    ended, out, err = call(capsys, *arguments, *(["--json"] if as_json else []))
    assert ended == code
    assert err.startswith("Error: ")
    assert said in err
    assert err.count("\n") == 1
    assert (json.loads(out) == {"error": err[7:-1], "exit_code": code}) if as_json else out == ""
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_the_one_that_failed_says_which_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, out, err = call(capsys, "fit-generator", "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert err.startswith("Error: rank 1: WORLD_SIZE=2 needs MASTER_ADDR and MASTER_PORT")


def test_an_unknown_arm_is_refused_with_the_nearest(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text(RECIPE)
    recipe = ["--recipe", str(tmp_path / "mine.toml"), "--arm", "cbmd"]
    code, _, err = call(capsys, "fit-generator", *recipe, "--out", str(tmp_path / "gen"))
    assert code == 2
    assert "did you mean 'cbdm'?" in err


def test_an_arm_that_starts_from_another_one_asks_for_its_run(capsys, fitted, tmp_path):
    (tmp_path / "mine.toml").write_text(RECIPE)
    fit = ["fit-generator", "--recipe", str(tmp_path / "mine.toml"), "--arm", "tuned", "--out", str(tmp_path / "gen"), "--quiet"]
    code, _, err = call(capsys, *fit)
    assert code == 2
    assert "starts from the generator of arm 'cbdm'; fit that one first and give its run with --from" in err
    assert fitted == []
    assert call(capsys, *fit, "--from", str(tmp_path))[0] == 0
    (made,) = fitted
    assert (made["source"], made["seed"]) == (tmp_path, None)
    assert made["given"] == {"steps": 5}, "the network is that of the run"


def test_inspect_shows_counts_and_is_one_json_object(capsys):
    code, out, err = call(capsys, "inspect", "digits", "--imbalance", "100")
    assert (code, err) == (0, "")
    assert "10 classes, images 8 x 8 pixels" in out
    code, out, _ = call(capsys, "inspect", "digits", "--imbalance", "100", "--json")
    assert code == 0
    assert json.loads(out)["train"]["per_class"]["9"] == 1


def test_dry_run_of_a_recipe_lists_every_stage_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(RECIPE.replace("channels = 24", "channels = 4\nbatch-size = 8"))
    code, out, _ = call(capsys, "run", "mine.toml", "--seeds", "1", "--dry-run", "--json")
    assert code == 0
    found = json.loads(out)
    assert [t["name"] for t in found["tasks"]] == [
        "seed-0/real/classifier",
        "seed-0/cbdm/generator",
        "seed-0/cbdm/synthetic",
        "seed-0/resampled/classifier",
        "seed-0/cbdm/classifier",
        "seed-0/tuned/generator",
        "seed-0/tuned/synthetic",
        "seed-0/tuned/classifier",
        "report",
    ]
    assert {t["status"] for t in found["tasks"]} == {"new"}
    took = {t["name"]: t["estimate"]["seconds"] for t in found["tasks"] if t["estimate"]}
    chain = ["seed-0/cbdm/generator", "seed-0/tuned/generator", "seed-0/tuned/synthetic", "seed-0/tuned/classifier"]
    assert found["seconds"] >= sum(took[name] for name in chain)
    assert found["memory_bytes"] > 0
    assert "first_look_seconds" not in found
    code, out, _ = call(capsys, "fit-generator", "--recipe", "mine.toml", "--out", "gen", "--dry-run")
    assert code == 0
    assert "channels             4" in out
    assert re.search(r"^[\d.]+ steps/s\. About ", out, re.MULTILINE)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


def test_dry_run_until_decided_foresees_the_first_look_and_the_last(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('dataset = "digits"\nimbalance = 50\n[arms.real.train-classifier]\nsteps = 100\n')
    asked = ["run", "mine.toml", "--until-decided", "--max-seeds", "6", "--dry-run", "--workers", "1", "--device", "cpu"]
    code, out, _ = call(capsys, *asked, "--json")
    found = json.loads(out)
    assert code == 0
    assert [t["name"] for t in found["tasks"]] == [*(f"seed-{seed}/real/classifier" for seed in range(6)), "report"]
    assert found["first_look_seconds"] == pytest.approx(found["seconds"] / 2)
    _, out, _ = call(capsys, *asked)
    assert re.search(r"^Until the first look: About .*\nUntil the last: About ", out, re.MULTILINE)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


def test_until_decided_runs_the_looks_and_shows_the_last_report(capsys, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("ltaug.cli.commands.run_until_decided", lambda recipe, **how: calls.append((recipe.name, how)) or "made")
    monkeypatch.setattr("ltaug.cli.show.report", lambda made, *, as_json: print(made, as_json))
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "run", "digits-lt", "--until-decided", "--first-seed", "2", "--json") == (0, "made True\n", "")
    assert call(capsys, "run", "digits-lt", "--until-decided", "--max-seeds", "25", "--out", "here", "--quiet")[0] == 0
    assert [(name, how["max_seeds"], how["first_seed"], str(how["out"])) for name, how in calls] == [
        ("digits-lt", 10, 2, "runs/digits-lt"),
        ("digits-lt", 25, 0, "here"),
    ]


def test_version_and_module_entry():
    done = subprocess.run([sys.executable, "-m", "ltaug", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ltaug ")


def test_a_reader_who_leaves_is_not_an_error_with_a_traceback():
    command = f"{sys.executable} -m ltaug fit-generator --help | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_completion_knows_commands_and_options():
    environment = {"_LTAUG_COMPLETE": "bash_complete", "COMP_WORDS": "ltaug fit-gen", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'ltaug'; from ltaug.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "fit-generator" in done.stdout


def test_the_bare_command_shows_its_help_and_no_error(capsys):
    code, out, err = call(capsys)
    assert code == 2
    assert "Usage: ltaug" in out + err
    assert "Error" not in out + err


@pytest.mark.parametrize("name", ["", "folder:"])
def test_a_dataset_that_names_nothing_is_not_taken_for_the_folder_here(capsys, name):
    code, _, err = call(capsys, "inspect", name)
    assert code == 2
    assert "names nothing" in err
