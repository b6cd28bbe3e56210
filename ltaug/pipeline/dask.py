"""Stage calls on the workers of a Dask cluster, each in a child process there: `--engine dask:ADDRESS`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pickle
import sys
import threading
import time
import uuid
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from ltaug.errors import OptionError, WorkerError
from ltaug.machine import Machine
from ltaug.pipeline.child import STOP_PATIENCE, Answer, Call, Child, stop
from ltaug.pipeline.plan import Task
from ltaug.runs import Event, Listener

KIND = "dask:"
RETRIES = 2  # of a call whose process was lost; how many workers may be lost at it is the scheduler's (allowed-failures)
PATIENCE = 30.0  # seconds for the scheduler to answer
POLL = 0.5  # seconds between two looks at whether a call is still wanted
LEAVING = ("closing", "closed", "failed")  # a worker that was told to end, or has lost its scheduler
SPARE = 2.0  # seconds for which a child is kept for the next call: it starts in seconds, most of which is torch
_idle: dict[tuple[str, Machine, Path], list[Child]] = {}  # on a worker: children by what they were started with
_at_work: set[str] = set()  # on a worker: the keys of the calls in progress


class Dask:
    """An engine (see local.Local) of the workers that a Dask scheduler knows; they see the same files at the same paths.

    On CUDA, which is --device auto where a worker has the resource GPU, a call takes one of those.

    Args:
        engine: dask:tcp://HOST:PORT, or dask:FILE with the file that `dask scheduler --scheduler-file` writes.
        machine, module, tell: see `run.run_tasks` and `local.Local`.

    Raises:
        OptionError: see `require_scheduler`.
        WorkerError: no scheduler answers there.
    """

    slots = sys.maxsize  # the scheduler has its own queue

    def __init__(self, engine: str, machine: Machine, *, module: str, tell: Listener) -> None:
        self._client = _connected(engine)
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        cuda = machine.device == "cuda" or (machine.device == "auto" and any(w["resources"].get("GPU") for w in workers))
        threads = machine.threads if cuda else machine.threads or 1
        self._machine = dataclasses.replace(machine, device="cuda" if cuda else "cpu", threads=threads)
        self._resources = {"GPU": 1} if cuda else None
        if not [w for w in workers if w["resources"].get("GPU") or not cuda]:
            which = "workers with --resources GPU=1" if cuda else "workers"
            tell(Event("", f"Waiting for {which}: the scheduler {engine.removeprefix(KIND)} has none yet."))
        self._module = module
        self._left: set[Any] = set()
        self._topic = uuid.uuid4().hex
        self._client.subscribe_topic(self._topic, lambda event: tell(pickle.loads(event[1])))

    @property
    def workers(self) -> int:
        """How many calls the cluster makes at a time, as far as it is there now; at least 1."""
        return int(sum(self._client.nthreads().values())) or 1

    def submit(self, task: Task, priority: int) -> Future[Answer]:
        call = (task.function, {**task.kwargs, "machine": self._machine})
        key = f"{task.function}-{self._topic}-{task.name}"
        where = {"key": key, "priority": priority, "resources": self._resources, "retries": RETRIES, "pure": False}
        there = self._client.submit(_make, call, task.name, self._module, Path.cwd(), self._topic, **where)
        self._left.add(there)
        here: Future[Answer] = Future()
        # In a thread of its own: where a worker is lost before its answer is here, it waits for the next worker's.
        settling = threading.Thread(target=self._settle, args=(there, here, task.name), daemon=True)
        there.add_done_callback(lambda _: settling.start())
        return here

    def _settle(self, there: Any, here: Future[Answer], name: str) -> None:
        """Hand on what became of a call, and forget it there: what Dask remembers it computes again when a worker is lost."""
        try:
            here.set_result(there.result())
        except WorkerError as error:
            here.set_exception(error)
        except Exception as error:  # noqa: BLE001  # what broke in a worker or in Dask itself has no class in common
            why = "the scheduler was lost" if isinstance(error, CancelledError) else f"{type(error).__name__}: {error}"
            remedy = "see the logs of its workers, and rerun the command to resume"
            here.set_exception(WorkerError(f"Dask gave up {name} ({why}); {remedy}"))
        self._left.discard(there)
        there.release()

    def close(self) -> None:
        """Cancel what is not done: workers see that, as they see the death of this process, and interrupt their children."""
        left = [future for future in list(self._left) if not future.done()]
        keys, deadline = {future.key for future in left}, time.monotonic() + STOP_PATIENCE
        if left and self._client.status == "running":
            self._client.cancel(left, force=True)
            while time.monotonic() < deadline and any(self._client.run(_any_at_work, keys, on_error="ignore").values()):
                time.sleep(POLL)
        self._client.close()


def require_scheduler(engine: str) -> None:
    """Raise OptionError unless `engine` is a scheduler's address or file, and the package `distributed` is installed."""
    address = engine.removeprefix(KIND)
    if not engine.startswith(KIND) or not ("://" in address or Path(address).is_file()):
        raise OptionError(f"--engine {engine!r} names no scheduler; give dask:tcp://HOST:8786, or dask:FILE for a scheduler file")
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise OptionError(f"--engine {engine} needs the package distributed; pip install 'ltaug[dask]'") from None


def _connected(engine: str) -> Any:
    require_scheduler(engine)
    from distributed import Client

    address = engine.removeprefix(KIND)
    where = {"address": address} if "://" in address else {"scheduler_file": address}
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it meets is raised as well
    try:
        return Client(**where, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(f"no Dask scheduler answers at {address}: {error}; start `dask scheduler` first") from error


def _make(call: Call, name: str, module: str, folder: Path, topic: str) -> Answer:
    """On a worker: make a call in a child process, which is stopped as soon as nobody wants its answer any more."""
    from distributed import get_worker

    worker = get_worker()
    key, machine = worker.get_current_task(), call[1]["machine"]
    idle = _idle.setdefault((module, machine, folder), [])
    try:
        child = idle.pop()
    except IndexError:
        child = Child(module, machine, folder=folder)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled" or worker.status.name in LEAVING:
                stop([child])
        time.sleep(SPARE)
        with contextlib.suppress(ValueError):  # it has been taken for another call
            idle.remove(child)
            stop([child])

    _at_work.add(key)
    threading.Thread(target=watch, daemon=True).start()
    try:
        answer = child.call(call, name, lambda event: worker.log_event(topic, pickle.dumps(event)))
        idle.append(child)
        return answer
    except BaseException:
        stop([child])
        raise
    finally:
        ended.set()
        _at_work.discard(key)


def _any_at_work(keys: set[str]) -> bool:
    return bool(keys & _at_work)
