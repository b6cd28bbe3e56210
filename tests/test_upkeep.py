"""`ltaug clean` removes what nobody needs and nothing else; `ltaug doctor` finds what is wrong with a machine and says it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killing import WRITES, killed_at_every_write
from PIL import Image

from ltaug.cli import main
from ltaug.data.cache import derived
from ltaug.data.load import load_dataset
from ltaug.errors import LtaugError, OptionError
from ltaug.files import read_json, sealed, write_json
from ltaug.machine import Machine
from ltaug.options import DatasetOptions
from ltaug.runs import LOCK_FILE, RUN_FILE, locked, read_run
from ltaug.stages import (
    diagnose,
    find_damage,
    find_leftovers,
    fit_generator,
    installed,
    synthesize,
    train_classifier,
    trial,
    write_report,
)

pytestmark = pytest.mark.slow
DIGITS = {"dataset": "digits", "imbalance": 20, "head": 30}
STATE = ["checkpoints/step-2", "checkpoints/step-4/training.pt", "checkpoints/step-4/weights.safetensors"]


def fit(out: Path, heard=None) -> Path:
    listener = {} if heard is None else {"listener": lambda event: heard.append(event.text)}
    given = {"steps": 4, "checkpoint_every": 2, "channels": 8, "batch_size": 16}
    return fit_generator(DIGITS, given, out=out, machine=Machine(device="cpu"), **listener)


def make_images(runs: Path, heard=None) -> Path:
    listener = {} if heard is None else {"listener": lambda event: heard.append(event.text)}
    given = {"per_class_budget": "1", "sample_steps": 2}
    return synthesize(runs / "generator", given, out=runs / "images", machine=Machine(device="cpu"), **listener)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished generator, its images and a classifier, with a report over them."""
    root = tmp_path_factory.mktemp("upkeep")
    runs = root / "runs"
    fit(runs / "generator")
    make_images(runs)
    for arm, synthetic in (("real", None), ("both", runs / "images")):
        train_classifier(DIGITS, {"steps": 4}, arm=arm, synthetic=synthetic, out=runs / arm, machine=Machine(device="cpu"))
    write_report([runs], out=root / "report")
    return root


@pytest.fixture
def made(finished, tmp_path):
    """A copy of it, with what killed processes may have left in it."""
    shutil.copytree(finished, tmp_path / "a")
    runs = tmp_path / "a/runs"
    (runs / "real/.metrics.json.x.half").write_bytes(b"12345")
    (runs / "generator/checkpoints/.step-6.x.half").mkdir()
    (runs / "generator/checkpoints/.step-6.x.half/.ema.safetensors.y.half").write_bytes(b"1")
    (runs / "images/parts").mkdir(parents=True)
    (runs / "images/parts/0123.zip").write_text("123")
    (runs / "real/checkpoints/step-5000").mkdir(parents=True)
    (runs / "real/checkpoints/notes.txt").write_text("not ltaug's")
    return tmp_path / "a"


def contents(path: Path) -> dict[str, bytes]:
    files = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith(LOCK_FILE))
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def names(found, path: Path) -> set[str]:
    return {str(Path(one.path).relative_to(path)) for one in found.leftovers}


LEFT = {
    *(f"runs/generator/{name}" for name in STATE),
    "runs/generator/checkpoints/.step-6.x.half",
    "runs/real/.metrics.json.x.half",
    "runs/real/checkpoints/step-5000",
    "runs/images/parts",
}


def test_clean_lists_what_is_not_needed_with_its_size_and_changes_nothing(made, capsys):
    before = contents(made)
    found = find_leftovers([made])
    assert names(found, made) == LEFT
    sizes = {Path(one.path).name: one.size for one in found.leftovers}
    assert (sizes[".metrics.json.x.half"], sizes["parts"], sizes["training.pt"]) == (
        5,
        3,
        len(before[f"runs/generator/{STATE[1]}"]),
    )
    for arguments in (["clean", str(made)], ["clean", str(made), "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    text, told = capsys.readouterr().out.rstrip("\n").rsplit("\n", 1)
    assert "--yes removes it" in text
    assert all(f"{path}: " in text for path in (one.path for one in found.leftovers))
    assert json.loads(told) == {"removed": False, "left": [], "leftovers": [one._asdict() for one in found.leftovers]}
    assert contents(made) == before


def test_clean_removes_exactly_that_and_every_command_finds_its_runs_as_before(made, capsys):
    before, report = contents(made), read_json(made / "report/report.json")
    with pytest.raises(SystemExit) as ended:
        main(["clean", str(made / "runs"), "--yes"])
    assert ended.value.code == 0
    kept = {name for name in before if not any(name == left or name.startswith(f"{left}/") for left in LEFT)}
    after = contents(made)
    assert set(after) == kept
    assert {name for name in kept if after[name] != before[name]} == {"runs/generator/checkpoints/step-4/manifest.json"}
    found = find_damage([made])
    assert (found.damages, found.unfinished, find_leftovers([made]).leftovers) == ((), (), ())
    heard = []
    fit(made / "runs/generator", heard)
    make_images(made / "runs", heard)
    assert heard == ["Already done."] * 2
    write_report([made / "runs"], out=made / "again")
    assert read_json(made / "again/report.json") == report


def test_a_kill_while_cleaning_leaves_whole_runs_and_the_rest_to_be_found_again(made, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        states = killed_at_every_write(patch, made / "runs/generator", tmp_path / "moments", (*WRITES, "unlink", "rmdir"))
        find_leftovers([made], remove=True)
    assert len(states) > 10
    wanted = contents(made / "runs/generator")
    for state in states:
        assert find_damage([state]).damages == ()
        heard = []
        fit(state, heard)
        assert heard == ["Already done."]
        find_leftovers([state], remove=True)
        assert contents(state) == wanted


def test_a_run_that_another_process_holds_and_a_damaged_one_are_left_alone_and_said(made):
    before = contents(made)
    (made / "runs/generator/checkpoints/step-4/ema.safetensors").write_bytes(b"")
    with locked(made / f"runs/images/{LOCK_FILE}-1-of-2", ""), locked(made / f"runs/real/{LOCK_FILE}", ""):
        found = find_leftovers([made], remove=True)
    assert found.leftovers == ()
    assert {Path(path).name: reason.split()[-1] for path, reason in found.left} == {
        "generator": "more",
        "images": "it",
        "real": "it",
    }
    assert {name for name, content in contents(made).items() if content != before[name]} == {
        "runs/generator/checkpoints/step-4/ema.safetensors"
    }


def unfinished(path: Path) -> None:
    """Make a finished run one that was interrupted."""
    write_json(path / RUN_FILE, sealed(read_run(path) | {"status": "running", "outputs": {}}))


def test_an_unfinished_run_is_left_unless_its_input_was_finished_again_as_another(made, monkeypatch, tmp_path):
    runs = made / "runs"
    unfinished(runs / "images")
    images = contents(runs / "images")
    find_leftovers([made], remove=True)
    assert contents(runs / "images") == images
    generator = runs / "generator"
    record = read_run(generator)
    write_json(generator / RUN_FILE, sealed(record | {"outputs": dict.fromkeys(record["outputs"], "0" * 64)}))
    assert names(find_leftovers([made]), made) == {"runs/images"}
    with monkeypatch.context() as patch:
        states = killed_at_every_write(patch, runs / "images", tmp_path / "moments", ("unlink", "rmdir", "rename"))
        find_leftovers([made], remove=True)
    assert not (runs / "images").exists()
    assert len(states) > 10
    # Every state is an unfinished run, or a directory without any file but the lock.
    assert all(((s / RUN_FILE).is_file() and read_run(s)["status"] == "running") or not contents(s) for s in states)


def test_cached_datasets_are_listed_only_where_the_cache_itself_is_named(tmp_path, monkeypatch):
    cache, images = tmp_path / "cache", tmp_path / "set"
    monkeypatch.setenv("LTAUG_CACHE", str(cache))
    for n in range(4):
        (images / f"{n % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), n, np.uint8)).save(images / f"{n % 2}/{n}.png")
    options = DatasetOptions(dataset=f"folder:{images}", test_per_class=1)
    digest = load_dataset(options, seed=0).train.digest
    (entry,) = (cache / "images").iterdir()
    half = cache / f"images/.{entry.name}.x.half"
    half.mkdir()
    (cache / "images/holiday").mkdir()
    with pytest.raises(OptionError, match="no run or report"):
        find_leftovers([tmp_path], remove=True)
    found = {Path(one.path): one.costs for one in find_leftovers([cache]).leftovers}
    assert found.keys() == {entry, half}
    assert found[entry] == f"decoding 4 images of {images} again"
    derived("latents", "0" * 64, lambda write: write((2, 3), np.float16))
    (latents,) = (one for one in find_leftovers([cache]).leftovers if "latents" in one.path)
    assert (latents.what, latents.costs) == ("cached latents", "encoding a dataset's images again")
    shutil.rmtree(latents.path)
    with locked(cache / "locks" / entry.name, ""):
        held = find_leftovers([cache], remove=True)
    assert (held.leftovers, len(held.left), entry.is_dir()) == ((), 2, True)
    find_leftovers([cache], remove=True)
    assert list((cache / "images").iterdir()) == [cache / "images/holiday"]
    assert load_dataset(options, seed=0).train.digest == digest


def doctor(capsys, *arguments: str):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", *arguments])
    out, err = capsys.readouterr()
    found = json.loads(out)
    return ended.value.code, {one["about"]: one for one in found["findings"]}, found["line"], err


def test_doctor_finds_this_machine_fit_with_a_line_for_a_bug_report(capsys):
    code, found, line, err = doctor(capsys)
    assert (code, {one["state"] for one in found.values()} - {"note"}) == (0, {"ok"})
    assert all(one.keys() == {"about", "state", "text", "remedy"} and one["text"] for one in found.values())
    assert {
        "ltaug",
        "Python",
        "torch",
        "torchvision",
        "timm",
        "numpy",
        "memory",
        "disk",
        "cache",
        "CPU",
        "compiler",
    } < found.keys()
    assert all(one["remedy"] for one in found.values() if one["state"] == "note")
    assert "the same bit for bit" in found["self-test"]["text"]
    assert "\n" not in line
    for part in ("ltaug ", f"Python {sys.version.split()[0]}", "torch ", "memory ", "self-test: "):
        assert part in line
    assert err == "Trying everything out, for about ten seconds.\n"


@pytest.mark.parametrize(("broken", "about"), [("torch", "import of torch"), ("torchvision", "torchvision with torch")])
def test_a_package_that_cannot_be_imported_is_a_sentence_with_a_remedy(tmp_path, broken, about):
    (tmp_path / f"{broken}.py").write_text('raise ImportError("libcudart.so.99: cannot open\\nand more")')
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-m", "ltaug", "doctor", "--quiet"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    said = [line for line in ended.stdout.splitlines() if line.startswith("problem")]
    assert said == [f"problem  {about}: ImportError: libcudart.so.99: cannot open; {said[0].rpartition('; ')[2]}"]
    assert "pip install" in said[0]
    assert "Problems: 1." in ended.stdout
    assert ended.stdout.rstrip().endswith("self-test: not made")


def test_a_self_test_that_fails_or_does_not_repeat_is_a_problem(monkeypatch, capsys):
    def other(folder, machine):
        return {"weights": folder.name}

    def fails(folder, machine):
        raise LtaugError("generator/ema.safetensors: x is not finite")

    for experiment, said in ((other, "not the same bit for bit: weights"), (fails, "x is not finite")):
        monkeypatch.setattr(trial, "_experiment", experiment)
        code, found, line, _ = doctor(capsys, "--device", "cpu")
        assert (code, found["self-test"]["state"]) == (1, "problem")
        assert said in found["self-test"]["text"]
        assert said in line


def test_weights_that_are_not_finite_fail_the_self_test(monkeypatch):
    monkeypatch.setattr(trial, "load_file", lambda file: {"head": torch.tensor([1.0, float("nan")])})
    found = {one.about: one for one in diagnose(Machine(device="cpu")).findings}
    assert found["self-test"].state == "problem"
    assert found["self-test"].text.endswith("head is not finite")


@pytest.mark.parametrize(
    ("built", "visible", "state", "said"),
    [
        (None, None, "problem", "built without CUDA"),
        ("13.2", "", "note", "CUDA_VISIBLE_DEVICES is ''"),
        ("13.2", None, "problem", "sees no GPU: RuntimeError: driver too old"),
    ],
)
def test_a_driver_without_a_gpu_that_torch_sees_is_told_with_the_reason(tmp_path, monkeypatch, built, visible, state, said):
    monkeypatch.setattr(installed, "DRIVER", (tmp_path,))
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", lambda: (_ for _ in ()).throw(RuntimeError("driver too old\nmore")))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (found,) = installed.devices()
    assert (found.about, found.state) == ("GPU", state)
    assert said in found.text
    assert found.remedy


def test_every_gpu_is_told_with_its_memory_and_one_that_does_not_compute_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "SHARED", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(name=f"card {number}"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: ((20e9, 1e9)[number], 24e9))
    wrong = iter((None, None, "RuntimeError: no kernel image is available"))
    monkeypatch.setattr(installed, "wrong_with", lambda call: next(wrong))
    found = list(installed.devices())
    assert [(one.about, one.state) for one in found] == [("GPU 0", "ok"), ("GPU 1", "note"), ("GPU 2", "problem")]
    assert found[0].text.startswith("card 0, 20.0 GB of 24.0 GB free")
    assert found[2].text == "card 2: RuntimeError: no kernel image is available"
    assert found[1].remedy
    assert found[2].remedy


def test_a_package_that_is_too_old_or_missing_is_a_problem(monkeypatch):
    versions = {"ltaug": "0.1.0", "torch": "2.10.1+cu132", "timm": "1.0.9"}
    monkeypatch.setattr(installed, "requires", lambda name: ["torch>=2.6", "timm>=1.0.15", "numpy>=1.26", "x>=1; extra == 'y'"])
    monkeypatch.setattr(installed, "_version", versions.get)
    found = {one.about: one for one in installed.packages()}
    assert {name: found[name].state for name in ("torch", "timm", "numpy")} == {
        "torch": "ok",
        "timm": "problem",
        "numpy": "problem",
    }
    assert found["timm"].remedy == "pip install 'timm>=1.0.15'"
    assert "x" not in found


def test_a_command_says_once_where_it_computes_on_stderr_and_not_with_quiet(tmp_path, capsys):
    given = ["--dataset", "digits", "--imbalance", "20", "--head", "30", "--steps", "2", "--device", "cpu", "--threads", "1"]
    for command, more, times in (
        ("fit-generator", ["--channels", "8", "--out", "fitted"], 1),
        ("fit-generator", ["--channels", "8", "--out", "fitted"], 0),  # which is already done
        ("fit-generator", ["--channels", "8", "--out", "quiet", "--quiet"], 0),
        ("train-classifier", ["--seeds", "2", "--workers", "2", "--out", "classifiers"], 1),
    ):
        with pytest.raises(SystemExit) as ended, contextlib.chdir(tmp_path):
            main([command, *given, *more])
        out, err = capsys.readouterr()
        assert (ended.value.code, out.count("Computing")) == (0, 0)
        assert err.count("Computing on the CPU: 1 thread, float32.\n") == times


def test_a_package_that_is_too_old_or_missing_is_a_problem_with_the_command_that_mends_it(monkeypatch):
    there = {"click": "7.0", "ltaug": "0.1.0"}
    monkeypatch.setattr(installed, "_version", lambda name: there.get(name))
    found = {one.about: one for one in installed.packages()}
    assert (found["click"].state, found["click"].text) == ("problem", "7.0 is not >=8.1")
    assert (found["rich"].state, found["rich"].remedy) == ("problem", "pip install 'rich>=13'")
    assert "pytest" not in found, "only tests need it"
