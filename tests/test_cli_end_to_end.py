"""The whole chain on digits by commands in processes of their own: the first and the interrupted one real, the others forks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from forking import Python
from waiting import LONG, wait_for

import ltaug
from ltaug.cli import main
from ltaug.machine import Machine

pytestmark = pytest.mark.slow

RECIPE = """
about = "a small comparison"
dataset = "digits"
imbalance = 20
head = 30
[fit-generator]
steps = 40
channels = 8
batch-size = 32
checkpoint-every = 5
[synthesize]
per-class-budget = "fill:12"
sample-steps = 3
max-candidates = 2
sample-batch = 16
judges = 1
[train-classifier]
steps = 20
[arms.real]
about = "real images only"
[arms.cbdm.synthesize]
[arms.selected.synthesize]
select-agreement = true
[arms.tuned]
fit-generator = { from = "cbdm", objective = "ddpm", steps = 20 }
"""
ARTEFACTS = ("*.safetensors", "*.png", "*.npz", "manifest.csv")


def start(where: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    command, pipe = [sys.executable, "-m", "ltaug", *arguments], subprocess.PIPE
    environment = os.environ | environment
    return subprocess.Popen(command, cwd=where, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def begin(where: Path, *arguments: str) -> Python:
    return Python(where, "-m", "ltaug", *arguments)


def call(where: Path, *arguments: str, by=begin, code: int = 0) -> tuple[str, str]:
    process = by(where, *arguments)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture
def here(experiment, capsys, monkeypatch):
    """As `call` in the experiment's folder, but in this process, which saves starting one."""

    def called(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(experiment[0])
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        assert ended.value.code == code, err
        return out, err

    return called


def artefacts(folder: Path) -> dict[str, bytes]:
    """Every weight and image below, without checkpoints that only serve resumption."""
    found = [p for pattern in ARTEFACTS for p in folder.rglob(pattern)]
    kept = [
        p
        for p in found
        if not p.name.startswith(".") and ("checkpoints" not in p.parts or p.parent.name in ("step-20", "step-40"))
    ]
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept if "report" not in p.parts}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A finished `ltaug run`, what it printed, and the folder it ran in."""
    where = tmp_path_factory.mktemp("experiment")
    (where / "mini.toml").write_text(RECIPE)
    out, err = call(where, "run", "mini.toml", "--seeds", "2", "--device", "cpu", "--workers", "2", by=start)
    return where, out, err


def test_a_run_ends_with_a_table_a_verdict_and_a_report(experiment):
    where, out, err = experiment
    assert "selected" in out
    assert "runs/mini/report/report.html" in out
    assert (where / "runs/mini/report/report.html").stat().st_size > 10_000
    assert "\x1b" not in out + err, "no terminal codes in a pipe"
    assert {p.name for p in (where / "runs/mini").iterdir()} >= {"seed-0", "seed-1", "report"}


def test_the_same_run_again_computes_nothing_and_says_the_same(experiment):
    where, out, _ = experiment
    before = {p: p.stat().st_mtime_ns for p in where.rglob("*") if p.is_file() and "report" not in p.parts and p.name != ".lock"}
    again, _ = call(where, "run", "mini.toml", "--seeds", "2", "--device", "cpu", "--workers", "1", "--quiet")
    assert again == out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    found, err = call(where, "run", "mini.toml", "--seeds", "2", "--device", "cpu", "--workers", "1", "--quiet", "--json")
    assert json.loads(found)["report"] == "runs/mini/report/report.html"
    assert err == ""


def test_a_changed_recipe_is_refused_before_anything_is_computed(experiment, here, tmp_path):
    where, _, _ = experiment
    (tmp_path / "mini.toml").write_text(RECIPE.replace("steps = 40", "steps = 50"))
    before = artefacts(where)
    _, err = here("run", str(tmp_path / "mini.toml"), "--out", "runs/mini", "--quiet", code=5)
    assert err.startswith("Error: ")
    assert "steps: 40 before, 50 now" in err
    assert err.count("\n") == 1
    assert artefacts(where) == before


def test_killed_twice_and_run_again_by_one_worker_weights_and_images_are_those_of_two(experiment):
    where, _, _ = experiment
    arguments = ["run", "mini.toml", "--seeds", "1", "--device", "cpu", "--workers", "1", "--out", "killed", "--quiet"]
    generator, synthetic = where / "killed/seed-0/cbdm/generator", where / "killed/seed-0/cbdm/synthetic"
    for reached in (lambda: (generator / "checkpoints/step-15").exists(), lambda: (synthetic / "run.json").exists()):
        process = begin(where, *arguments)
        try:
            wait_for(reached, process)
        finally:
            process.kill()
            process.communicate()
    call(where, *arguments)
    found, expected = artefacts(where / "killed/seed-0"), artefacts(where / "runs/mini/seed-0")
    assert len(expected) > 50
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def test_ctrl_c_says_how_to_go_on(experiment):
    where, _, _ = experiment
    (where / "endless.toml").write_text(RECIPE.replace("steps = 40", "steps = 1000000"))
    process = start(where, "run", "endless.toml", "--seeds", "1", "--device", "cpu", "--out", "stopped", "--quiet")
    wait_for(lambda: (where / "stopped/seed-0/cbdm/generator/run.json").exists(), process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert (out, err.lstrip("\n")) == ("", "Error: interrupted; rerun the command to resume\n")


def test_the_commands_by_hand(experiment, here):
    where, _, _ = experiment
    small = ["--imbalance", "20", "--head", "30", "--threads", "1", "--device", "cpu"]
    fit = ["fit-generator", *small, "--steps", "10", "--channels", "8", "--out", "gen"]
    call(where, *fit)
    assert "already done" in here(*fit)[0]
    assert "would do nothing: gen is done" in here(*fit, "--dry-run")[0]
    _, err = here(*fit, "--lr", "0.1", "--dry-run", code=5)
    assert "gen was made with other options or inputs (options.fit-generator.lr: 0.002 before, 0.1 now)" in err
    tuned = ["fit-generator", "--from", "gen", "--objective", "ddpm", "--steps", "5", "--batch-size", "8", "--threads", "1"]
    would = json.loads(here(*tuned, "--out", "tuned", "--dry-run", "--json")[0])
    assert (would["options"]["channels"], would["options"]["from"], would["steps"]) == (8, "gen", 5)
    assert "Starting from gen after 10 steps: 10 classes carried over." in here(*tuned, "--out", "tuned")[1]
    _, err = here(*tuned, "--channels", "16", "--out", "never", code=5)
    assert "gen has another network (--channels 8, not 16); leave out what differs" in err
    synthesize = ["synthesize", "gen", "--per-class-budget", "fill:12", "--sample-steps", "3", "--out", "syn", "--threads", "1"]
    made = json.loads(call(where, *synthesize, "--json")[0])
    assert (made["run"], made["status"], made["already_done"]) == ("syn", "finished", False)
    train = ["train-classifier", "--synthetic", "syn", "--seeds", "2", "--steps", "5", "--out", "clf", "--device", "cpu"]
    assert set(json.loads(call(where, *train, "--json")[0])["arms"]) == {"real", "resampled", "real+synthetic"}
    assert "real+synthetic" in call(where, "report", "clf", "--out", "rep")[0]
    assert (where / "rep/report.html").exists()


def test_shares_side_by_side_one_of_them_killed_and_workers_make_the_set_of_one_process(experiment, here):
    where, _, _ = experiment
    generator = "runs/mini/seed-0/cbdm/generator"
    given = {"per-class-budget": "30", "max-candidates": 2, "sample-batch": 8, "sample-steps": 5}
    flags = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    made_so = ["--start", "confusable", "--strength", "0.7", "--guide", "entropy", "--choose-guidance", "0,1"]
    judged = ["--select-agreement", "--judges", "1", *made_so]
    arguments = ["synthesize", generator, *flags, *judged, "--threads", "1", "--device", "cpu", "--out", "two"]
    first, second = (begin(where, *arguments, "--part", f"{number}/2") for number in (1, 2))
    wait_for(lambda: len(list((where / "two/parts").glob("*.zip"))) > 3, second)
    second.kill()
    second.communicate()
    out, err = first.communicate(timeout=LONG)
    assert first.returncode == 0, err
    assert "two is not finished" in out
    assert not (where / "two/manifest.csv").exists()
    with FileLock(where / "two/.lock-1-of-2"):
        _, err = here(*arguments, "--part", "1/2", code=6)
        assert "--part 1/2 of two is at work already; wait for it or stop it" in err
        _, err = here(*arguments, code=6)
        assert "--part 1/2 of two is still at work; wait for it or stop it" in err
    out, _ = call(where, *arguments, "--workers", "2")
    assert "two is done" in out
    judges, machine = [where / "two.judges" / "judge-0"], Machine(device="cpu", threads=1)
    given |= {"select_agreement": True, "judges": 1}
    given |= {"start": "confusable", "strength": 0.7, "guide": "entropy", "choose_guidance": (0, 1)}
    ltaug.synthesize(where / generator, given, out=where / "one", judges=judges, machine=machine)
    assert artefacts(where / "two") == artefacts(where / "one")
    assert len(artefacts(where / "one")) > 30


def test_a_flipped_byte_is_found_and_said(experiment, here):
    where, _, _ = experiment
    shutil.copytree(where / "runs/mini/seed-0/cbdm/generator", where / "flipped")
    weights = next((where / "flipped").rglob("ema.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    _, err = here("synthesize", "flipped", "--out", "never", code=7)
    assert "damaged" in err
    assert not (where / "never").exists()
