"""Workers: order, errors, death and interruption, with stages that only take time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import LONG, wait_for

from ltaug.errors import BudgetError, ResourceError, RunExistsError, WorkerError
from ltaug.machine import Machine
from ltaug.pipeline import claim, local
from ltaug.pipeline.local import settled
from ltaug.pipeline.plan import Task
from ltaug.pipeline.run import run_tasks

HERE = Path(__file__).parent
CPU = Machine(device="cpu")


def task(tmp_path: Path, name: str, function: str = "nap", needs: tuple[str, ...] = (), **kwargs) -> Task:
    if function == "nap":
        kwargs.setdefault("seconds", 0.0)
    return Task(name, function, {"out": tmp_path / name, **kwargs}, needs, tmp_path / name)


def run(tasks, workers=2, **kwargs):
    return run_tasks(tasks, workers=workers, machine=CPU, module="fake_stages", **kwargs)


def log(tmp_path: Path) -> list[dict]:
    path = tmp_path / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_tasks_run_after_what_they_need_and_events_arrive(tmp_path):
    heard = []
    tasks = [
        task(tmp_path, "a", seconds=0.1),
        task(tmp_path, "b", seconds=0.1),
        task(tmp_path, "c", needs=("a", "b")),
        task(tmp_path, "d", needs=("c",)),
    ]
    assert run(tasks, listener=heard.append) == {name: name for name in "abcd"}
    at = {(line["name"], line["what"]): line["at"] for line in log(tmp_path)}
    assert at["c", "start"] >= max(at["a", "end"], at["b", "end"])
    assert at["d", "start"] >= at["c", "end"]
    assert [(e.run, e.step) for e in heard if e.run == "a"] == [("a", 0), ("a", 10), ("a", 1)]
    assert [(e.step, e.total) for e in heard if e.run == ""] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_two_workers_work_at_the_same_time(tmp_path):
    pids = run([task(tmp_path, "a", "meet", other=tmp_path / "b"), task(tmp_path, "b", "meet", other=tmp_path / "a")])
    assert pids["a"] != pids["b"]


def test_finished_tasks_are_checked_before_anything_is_computed(tmp_path):
    tasks = [task(tmp_path, "slow"), task(tmp_path, "done")]
    tasks[1].directory.mkdir()
    (tasks[1].directory / "run.json").write_text('{"status": "finished"}')
    run(tasks, workers=1)
    assert [line["name"] for line in log(tmp_path) if line["what"] == "start"] == ["done", "slow"]


def test_every_worker_computes_with_one_thread_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert run([task(tmp_path, "a", "threads")])["a"] == (1, "1")
    assert "OMP_NUM_THREADS" not in os.environ
    four = run_tasks([task(tmp_path, "a", "threads")], machine=Machine(device="cpu", threads=4), module="fake_stages")
    assert four["a"] == (4, "4")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(local, "cuda_devices", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")


def seen_by(tmp_path, count, **kwargs):
    """What CUDA_VISIBLE_DEVICES is to each of so many workers at a time."""
    tasks = [task(tmp_path, f"here-{i}", "surroundings", together=count) for i in range(count)]
    found = run_tasks(tasks, machine=Machine(), module="fake_stages", **kwargs)
    return sorted(environment["CUDA_VISIBLE_DEVICES"] for environment in found.values())


def test_workers_go_round_the_gpus_one_each_unless_more_are_asked_for(tmp_path, two_gpus):
    assert settled(Machine()) == (Machine(device="cuda"), 2)
    assert seen_by(tmp_path, 2) == ["4", "6"]
    (tmp_path / "more").mkdir()
    assert seen_by(tmp_path / "more", 3, workers=3) == ["4", "4", "6"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"


def test_workers_are_told_nothing_of_a_launchers_ranks(tmp_path, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    found = run([task(tmp_path, "one", "surroundings", together=0)])["one"]
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID"} & found.keys()
    assert os.environ["RANK"] == "1"


def test_a_users_mistake_reaches_the_caller_and_stops_the_others(tmp_path):
    tasks = [task(tmp_path, "a", "mistake"), task(tmp_path, "b", seconds=2 * LONG), task(tmp_path, "c", needs=("a",))]
    began = time.monotonic()
    with pytest.raises(BudgetError, match="try fill:max"):
        run(tasks)
    assert time.monotonic() - began < LONG
    assert all(not alive(line["pid"]) for line in log(tmp_path))
    assert "c" not in {line["name"] for line in log(tmp_path)}


@pytest.mark.parametrize(
    ("stage", "said"), [("full", "{}: no space left on device; free"), ("short_of_memory", "fewer --workers")]
)
def test_a_worker_whose_disk_or_memory_is_exhausted_says_so_in_a_sentence(tmp_path, capfd, stage, said):
    with pytest.raises(ResourceError, match=said.format(tmp_path / "a")):
        run([task(tmp_path, "a", stage)])
    assert "Traceback" not in capfd.readouterr().err


def test_a_killed_worker_is_said_with_the_remedy(tmp_path):
    with pytest.raises(WorkerError, match=r"the worker at a was killed, most likely for lack of memory; .*fewer --workers"):
        run([task(tmp_path, "a", "killed")])


def test_a_bug_in_a_worker_ends_the_run_with_its_traceback(tmp_path, capfd):
    with pytest.raises(WorkerError, match="the worker at a ended with exit code 1"):
        run([task(tmp_path, "a", "bug")])
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


SCRIPT = """
import sys
from pathlib import Path
from ltaug.machine import Machine
from ltaug.pipeline.plan import Task
from ltaug.pipeline.run import run_tasks
if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    out = Path(sys.argv[1])
    tasks = [Task(n, "patient", {"out": out / n}, (), out / n) for n in "ab"]
    run_tasks(tasks, workers=2, machine=Machine(device="cpu"), module="fake_stages")
"""


@pytest.fixture
def patient_parent(tmp_path):
    """A process whose two workers are at work, and its log."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(HERE)]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(log(tmp_path)) == 2, parent)
    yield parent
    if parent.poll() is None:
        os.killpg(parent.pid, signal.SIGKILL)
    parent.communicate()


def test_workers_end_when_the_parent_is_killed(tmp_path, patient_parent):
    workers = [line["pid"] for line in log(tmp_path)]
    assert all(alive(pid) for pid in workers)
    patient_parent.kill()
    patient_parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers))
    assert {line["what"] for line in log(tmp_path)} == {"start"}


@pytest.mark.parametrize("to", ["the parent", "the whole group, as a terminal does"])
def test_ctrl_c_lets_every_worker_save_its_state(tmp_path, patient_parent, to):
    (os.kill if to == "the parent" else os.killpg)(patient_parent.pid, signal.SIGINT)
    _, err = patient_parent.communicate(timeout=LONG)
    assert err.count("Traceback") == 1, "the parent's own; workers are quiet"
    assert sorted(line["name"] for line in log(tmp_path) if line["what"] == "saved") == ["a", "b"]
    assert not any(alive(line["pid"]) for line in log(tmp_path))


def test_a_claimed_directory_is_taken_again_and_a_foreign_one_is_not(tmp_path):
    with claim(tmp_path / "mine", "run"):
        (tmp_path / "mine" / "seed-0").mkdir()
    with claim(tmp_path / "mine", "run"):
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(RunExistsError, match="was not made by this command"), claim(tmp_path / "other", "run"):
        pass
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    with pytest.raises(RunExistsError, match="is a file"), claim(tmp_path / "other" / "thesis.txt", "run"):
        pass
