"""Sinks: every event of an unfinished run, in workers too, and no failure in silence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ltaug.cli import main
from ltaug.errors import OptionError
from ltaug.fields import check
from ltaug.machine import Machine
from ltaug.methods import SINKS
from ltaug.pipeline.plan import Task
from ltaug.pipeline.run import run_tasks
from ltaug.runs import Event, open_run


def opened(path: Path, *log: str):
    return open_run(path, stage="s", label="a/b", seed=0, options={}, inputs={}, versions={}, device={}, log=log)


def files(path: Path) -> set[str]:
    return {p.name for p in path.iterdir() if not p.name.startswith(".")}


def rows(path: Path) -> list[list[str]]:
    """Of metrics.csv without the time, which is checked to be one."""
    with path.open(newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["time", "text", "step", "total", "name", "value"]
    assert all(float(row[0]) > 1e9 for row in found)
    return [row[1:] for row in found]


def test_csv_has_a_row_for_each_value_and_goes_on_where_it_stopped_with_new_names(tmp_path):
    with opened(tmp_path / "run", "csv") as run:
        run.event("A message.")
        run.event("fitting", 1, 10)
        run.event("fitting", 2, 10, loss=0.5, lr=1e-05)
    with opened(tmp_path / "run", "csv") as run:
        run.event("fitting, again", 3, 10, accuracy=0.25)
    assert rows(tmp_path / "run" / "metrics.csv") == [
        ["fitting", "2", "10", "loss", "0.5"],
        ["fitting", "2", "10", "lr", "1e-05"],
        ["fitting, again", "3", "10", "accuracy", "0.25"],
    ]


@pytest.mark.parametrize("names", [(), ("jsonl",), ("csv",), ("csv", "jsonl"), ("jsonl", "jsonl")])
def test_a_run_has_exactly_the_sinks_that_are_named_and_none_once_it_is_finished(tmp_path, names):
    with opened(tmp_path / "run", *names) as run:
        run.event("fitting", 1, 10, loss=0.5)
        run.finish([])
        run.event("Already done.", loss=0.5)
    assert files(tmp_path / "run") - {"run.json"} == {f"metrics.{name}" for name in names}
    if "jsonl" in names:
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["loss"] for line in lines] == [0.5]


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_a_sink_that_cannot_write_ends_the_stage(tmp_path, name):
    with opened(tmp_path / "run", name) as run:
        (tmp_path / "run" / f"metrics.{name}").mkdir()
        with pytest.raises(OSError, match=f"metrics.{name}"):
            run.event("fitting", 1, 10, loss=0.5)


def test_what_a_sink_raises_is_not_caught(tmp_path, monkeypatch):
    monkeypatch.setitem(SINKS.entries, "broken", lambda run, label: lambda event: 1 / 0)
    with opened(tmp_path / "run", "broken") as run, pytest.raises(ZeroDivisionError):
        run.event("fitting", 1, 10)


def test_a_misspelt_sink_is_refused_before_anything_is_made(tmp_path, capsys):
    with pytest.raises(OptionError, match="--log 'jsnol' is unknown; did you mean 'jsonl'"), opened(tmp_path / "run", "jsnol"):
        pass
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionError, match="did you mean 'csv'"):
        check(Machine, {"log": ["cvs"]}, where="options")
    with pytest.raises(SystemExit) as ended:
        main(["fit-generator", "--log", "jsonl,cvs", "--out", str(tmp_path / "run")])
    assert ended.value.code == OptionError.exit_code
    assert "did you mean 'csv'" in capsys.readouterr().err


def test_in_a_worker_a_sink_hears_every_event_of_a_fit_and_the_parent_few(tmp_path):
    heard: list[Event] = []
    given = {"given": {"steps": 12, "batch_size": 4}, "dataset": {"imbalance": 10}}
    task = Task("real", "train_classifier", {**given, "seed": 0, "label": "seed-0/real", "out": tmp_path / "real"}, (), tmp_path)
    machine = Machine(device="cpu", log=("toy", "csv"))
    run_tasks([task], workers=1, machine=machine, module="fake_sinks", listener=heard.append)
    told = [json.loads(line) for line in (tmp_path / "real" / "toy.jsonl").read_text().splitlines()]
    training = [step for *_, text, step, _, _ in told if text == "training the classifier"]
    assert training == list(range(1, 13))
    assert {(label, run, total) for label, run, _, _, total, _ in told} == {("seed-0/real", "seed-0/real", 12)}
    assert len([e for e in heard if e.text == "training the classifier"]) < 12
    losses = [float(value) for *_, name, value in rows(tmp_path / "real" / "metrics.csv") if name == "loss"]
    assert losses == [values["loss"] for *_, values in told]
    assert not (tmp_path / "real" / "metrics.jsonl").exists()
