"""`ltaug run --engine dask:...`: the same promises where the stages are called by the workers of a Dask cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from test_pipeline_run import CPU, HERE, alive, log, task
from waiting import LONG, wait_for

from ltaug.cli import main
from ltaug.errors import BudgetError, OptionError, WorkerError
from ltaug.machine import Machine
from ltaug.pipeline import dask, run_recipe, run_until_decided
from ltaug.pipeline.grow import grow
from ltaug.pipeline.parts import hired
from ltaug.pipeline.run import run_tasks
from ltaug.recipes import read_recipe, recipe_path

pytest.importorskip("distributed")
DIGITS = read_recipe(recipe_path("digits-lt"))


class Cluster:
    """A scheduler and workers of one thread, as processes of their own, each in a group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.engine = f"dask:{self.file}"
        self.scheduler = self._start("scheduler", "--port", "0")
        wait_for(self.file.exists, self.scheduler)
        self.workers: list[subprocess.Popen] = []

    def add(self, *options: str) -> None:
        alone = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder))
        self.workers.append(self._start("worker", *alone, *options))

    def _start(self, kind: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", "--scheduler-file", str(self.file)]
        around = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        with (self.folder / "cluster.log").open("a") as file:
            return subprocess.Popen([*command, *options], stdout=file, stderr=file, env=around, start_new_session=True)

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def started(folder):
    made = Cluster(folder)
    made.add()
    made.add()
    yield made
    made.end()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """For the tests that leave it as it is."""
    with started(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def own_cluster(tmp_path_factory):
    with started(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def run(tasks, cluster, machine=CPU, **kwargs):
    return run_tasks(tasks, machine=machine, module="fake_stages", engine=cluster.engine, **kwargs)


def test_tasks_run_on_the_workers_after_what_they_need_and_events_arrive(tmp_path, cluster):
    heard = []
    tasks = [
        task(tmp_path, "a", "meet", other=tmp_path / "b"),
        task(tmp_path, "b", "meet", other=tmp_path / "a"),
        task(tmp_path, "c", needs=("a", "b")),
        task(tmp_path, "d", "threads", needs=("c",)),
    ]
    found = run(tasks, cluster, listener=heard.append)
    assert found["a"] != found["b"]
    wait_for(lambda: not any(alive(found[name]) for name in "ab"))
    assert (found["c"], found["d"]) == ("c", (1, "1"))
    assert [(e.run, e.step) for e in heard if e.run == "c"] == [("c", 0), ("c", 10), ("c", 1)]
    assert [(e.step, e.total) for e in heard if e.text == "stages"] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_users_mistake_arrives_as_it_is_and_lets_the_others_save_their_state(tmp_path, cluster):
    tasks = [task(tmp_path, "a", "patient"), task(tmp_path, "b", "mistake_later", other=tmp_path / "log.jsonl")]
    with pytest.raises(BudgetError, match="try fill:max"):
        run(tasks, cluster)
    assert {line["name"] for line in log(tmp_path) if line["what"] == "saved"} == {"a"}
    assert not any(alive(line["pid"]) for line in log(tmp_path))


def test_a_call_whose_process_is_killed_is_made_again_and_in_the_end_given_up(tmp_path, cluster):
    assert run([task(tmp_path, "a", "killed_once")], cluster) == {"a": "a"}
    with pytest.raises(WorkerError, match="the worker at b was killed"):
        run([task(tmp_path, "b", "killed")], cluster)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_when_a_worker_is_told_to_end_or_killed_its_call_is_made_elsewhere_and_none_of_its_processes_is_left(
    tmp_path, own_cluster, number
):
    killed = []

    def end_its_worker(event):
        if event.run == "a" and not killed:
            killed.append(log(tmp_path)[0]["pid"])
            parent = int(Path(f"/proc/{killed[0]}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, number)
            (tmp_path / "go").touch()

    assert run([task(tmp_path, "a", "until", other=tmp_path / "go")], own_cluster, listener=end_its_worker) == {"a": "a"}
    first, second = (line["pid"] for line in log(tmp_path) if line["what"] == "start")
    assert [line["pid"] for line in log(tmp_path) if line["what"] == "end"] == [second] != [first]
    wait_for(lambda: not alive(first))
    assert [line["pid"] for line in log(tmp_path) if line["what"] == "saved"] == [first] * (number == signal.SIGTERM)


def test_the_workers_make_parts_of_a_synthesis_and_one_that_is_lost_costs_none(tmp_path, own_cluster):
    asked = {"out": tmp_path / "syn", "size": 8, "machine": CPU, "workers": 1, "module": "fake_stages"}
    with hired(lambda event: None, engine=own_cluster.engine, **asked) as workers:
        wait_for(lambda: workers.slots == 4)
        answers = [workers.submit([(0, i), (1, i)]) for i in range(6)]
        own_cluster.workers[0].kill()
        assert [[key for key, _ in answer.result(LONG)] for answer in answers] == [[(0, i), (1, i)] for i in range(6)]
        wait_for(lambda: workers.slots == 2)
        with pytest.raises(BudgetError, match="try fill:max"):
            workers.submit([(8, 0)]).result(LONG)


def test_a_call_that_was_answered_is_not_made_again_when_its_worker_is_lost(tmp_path, own_cluster):
    lost = []

    def end_all_workers(event):
        if event.run == "b" and not lost:
            lost.extend(own_cluster.workers)
            for worker in lost:
                worker.kill()
            own_cluster.add()
            (tmp_path / "go").touch()

    tasks = [task(tmp_path, "a"), task(tmp_path, "b", "until", needs=("a",), other=tmp_path / "go")]
    assert run(tasks, own_cluster, listener=end_all_workers) == {"a": "a", "b": "b"}
    assert [line["name"] for line in log(tmp_path) if line["what"] == "start"] == ["a", "b", "b"]


SCRIPT = """
import sys
from pathlib import Path
from test_pipeline_run import CPU, task
from ltaug.pipeline.parts import hired
from ltaug.pipeline.run import run_tasks
out = Path(sys.argv[1])
run_tasks([task(out, n, "patient") for n in "ab"], machine=CPU, module="fake_stages", engine=sys.argv[2])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_children_save_their_state_when_the_driver_is_interrupted_or_dies(tmp_path, cluster, number):
    around = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    driver = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), cluster.engine], env=around, stderr=subprocess.PIPE)
    wait_for(lambda: len(log(tmp_path)) == 2, driver)
    driver.send_signal(number)
    driver.communicate(timeout=LONG)
    if number == signal.SIGKILL:
        wait_for(lambda: not any(alive(line["pid"]) for line in log(tmp_path)))
    assert sorted(line["name"] for line in log(tmp_path) if line["what"] == "saved") == ["a", "b"]
    assert not any(alive(line["pid"]) for line in log(tmp_path))
    assert all(worker.poll() is None for worker in cluster.workers)


def test_a_call_on_cuda_takes_a_gpu_of_a_worker_and_waits_for_one(tmp_path, own_cluster):
    heard = []

    def hear(event):
        heard.append(event.text)
        if "Waiting" in event.text:
            own_cluster.add("--resources", "GPU=1")

    tasks = [task(tmp_path, "a", "device")]
    assert run(tasks, own_cluster, machine=Machine(device="cuda"), listener=hear) == {"a": "cuda"}
    assert heard[0] == f"Waiting for workers with --resources GPU=1: the scheduler {own_cluster.file} has none yet."
    assert run(tasks, own_cluster, machine=Machine()) == {"a": "cuda"}, "auto"


def test_the_loss_of_the_scheduler_ends_the_run_with_the_remedy_and_stages_save_their_state(tmp_path, own_cluster):
    def kill(event):
        if event.run == "a":
            own_cluster.scheduler.kill()

    with pytest.raises(WorkerError, match=r"Dask gave up a \(the scheduler was lost\).*rerun the command to resume"):
        run([task(tmp_path, "a", "patient")], own_cluster, listener=kill)
    wait_for(lambda: not alive(log(tmp_path)[0]["pid"]))
    assert [line["what"] for line in log(tmp_path)] == ["start", "saved"]


@pytest.mark.parametrize("engine", ["", "dask", "dask:", "dask:nowhere.json", "ray:tcp://host:1", "tcp://host:1"])
@pytest.mark.parametrize("call", [partial(run_recipe, DIGITS), partial(run_until_decided, DIGITS), partial(grow, HERE)])
def test_an_engine_that_is_none_is_refused_and_nothing_is_written(tmp_path, call, engine):
    with pytest.raises(OptionError, match=r"names no scheduler; give dask:tcp://HOST:8786"):
        call(out=tmp_path / "out", engine=engine)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_does_not_answer_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "PATIENCE", 0.5)
    with pytest.raises(WorkerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_tasks([task(tmp_path, "a")], engine="dask:tcp://127.0.0.1:9")


@pytest.mark.parametrize("command", [["run", "digits-lt"], ["run", "digits-lt", "--dry-run"], ["grow", str(HERE)]])
def test_an_engine_without_its_package_or_with_workers_of_ours_is_refused_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, command
):
    command = [*command, "--engine", "dask:tcp://host:8786", "--out", str(tmp_path / "out"), "--json"]
    with pytest.raises(SystemExit):
        main([*command, "--workers", "2"])
    assert "--workers 2 is read only without --engine" in json.loads(capsys.readouterr().out)["error"]
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == OptionError.exit_code
    assert "pip install 'ltaug[dask]'" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "out").exists()
