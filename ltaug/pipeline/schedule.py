"""Runs stage calls side by side in worker processes, each as soon as its inputs are ready, the longest chains first."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from ltaug.errors import WorkerError
from ltaug.fields import settings_of
from ltaug.machine import Machine
from ltaug.methods import REGULARISERS, terms_of
from ltaug.options import GeneratorOptions
from ltaug.pipeline.plan import Task
from ltaug.pipeline.worker import Answer, Call, without_interrupts, work
from ltaug.place import ALONE, Place, says_a_place
from ltaug.runs import Event, Listener, ignore_events

STAGES_MODULE = "ltaug.stages"
DONE = "done"
STOP_PATIENCE = 15.0  # seconds a worker may take to save its state after SIGTERM
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_tasks(
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
    module: str = STAGES_MODULE,
    place: Place = ALONE,
) -> dict[str, Any]:
    """Make every task's call and return the results by task name.

    Finished tasks are called too, and first: a stage that is done only checks that it is still the same run, so that
    a changed input is refused before anything is computed. On the CPU every worker computes with one thread
    unless `machine` says otherwise, so results do not depend on how many workers there are.

    Args:
        workers: processes at a time; None: one per core, or per CUDA device. Worker i computes on device i, modulo their
            number, so that several may share one.
        module: where the stage functions are (another one in tests).
        place: of this process, where others run other tasks; its workers (one by default) use its device alone.

    Raises:
        LtaugError: a stage's own error, after the others were stopped; they resume when called again.
        WorkerError: a worker process died.
    """
    machine, natural = settled(machine or Machine())
    devices = visible_devices(natural) if machine.device == "cuda" else []
    if place.world > 1:
        natural, devices = 1, [devices[place.device_of(len(devices))]] if devices else []
    pool = _Pool(module, machine, devices)
    urgent = urgency(tasks)
    finished = {t.name for t in tasks if t.finished}
    waiting = sorted(tasks, key=lambda t: (t.name not in finished, -urgent[t.name]))
    results: dict[str, bytes] = {}
    try:
        while len(results) < len(tasks):
            for task in [t for t in waiting if all(name in results for name in t.needs)]:
                if not pool.start(task, limit=workers or natural):
                    break
                waiting.remove(task)
            for message in pool.messages():
                if isinstance(message, Event):
                    if message.run not in finished:
                        listener(message)
                else:
                    name, results[name] = message
                    listener(Event(name, DONE, 1, 1))
                    listener(Event("", "stages", len(results), len(tasks)))
    finally:
        pool.stop()
    # Only now: unpickling may import libraries, and while workers run they need the memory.
    return {name: pickle.loads(result) for name, result in results.items()}


def urgency(tasks: Sequence[Task]) -> dict[str, float]:
    """How much work still hangs on each task, itself included: the longest chain from it to the end.

    Starting the most urgent first lets the long chains (generators) begin early and the short ones fill the gaps.
    Units are roughly training steps of a generator; only the order matters.
    """
    after: dict[str, float] = {}
    for task in reversed(tasks):
        own = 0.0 if task.finished else _cost(task)
        after[task.name] = own + max((after[t.name] for t in tasks if task.name in t.needs), default=0.0)
    return after


def _cost(task: Task) -> float:
    given = task.kwargs.get("given", {})
    if task.function == "fit_generator":
        return float(given.get("steps", 1000)) * _passes(given)
    if task.function == "synthesize":
        return 300.0 if task.kwargs.get("judges") else 100.0
    if task.function == "evaluate_generator":
        return 150.0
    return 50.0


def _passes(given: Mapping[str, Any]) -> float:
    """Images through the network for one of the batch: one, and what the regularisers need beyond it."""
    options = GeneratorOptions(**given)
    terms = [term for term in terms_of(options.objective) if term in REGULARISERS]
    return 1 + sum(REGULARISERS.about(term).passes(**settings_of(options, "objective", term)) for term in terms)


class _Pool:
    """Worker processes, and which task each is at."""

    def __init__(self, module: str, machine: Machine, devices: Sequence[str]) -> None:
        self._module = module
        self._machine = machine
        self._devices = devices
        self._processes: dict[Connection[Call, Answer | Event], SpawnProcess] = {}
        self._tasks: dict[Connection[Call, Answer | Event], Task] = {}

    def start(self, task: Task, *, limit: int) -> bool:
        """Hand the task to an idle worker, or to a new one within the limit; False if there is none."""
        idle = next((c for c in self._processes if c not in self._tasks), None)
        if idle is None and len(self._processes) >= limit:
            return False
        connection = idle or self._new_worker()
        self._tasks[connection] = task
        connection.send((task.function, {**task.kwargs, "machine": self._machine}))
        return True

    def _new_worker(self) -> Connection[Call, Answer | Event]:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        # Not a daemon process: those may not have children, which data loaders are. It watches its parent instead.
        process = context.Process(target=work, args=(there, self._module))
        with _environment(self._surroundings()), without_interrupts():
            process.start()
        there.close()
        self._processes[here] = process
        return here

    def _surroundings(self) -> dict[str, str | None]:
        """Environment variables of the next worker: its threads, its CUDA device, and no place among processes."""
        found: dict[str, str | None] = dict.fromkeys(name for name in os.environ if says_a_place(name))
        if self._machine.threads:
            found |= {name: str(self._machine.threads) for name in THREAD_VARIABLES}
        if self._devices:
            found["CUDA_VISIBLE_DEVICES"] = self._devices[len(self._processes) % len(self._devices)]
        return found

    def messages(self) -> Iterator[Event | tuple[str, bytes]]:
        """Wait for the workers and yield their events and (task name, pickled result) pairs."""
        for connection in wait(list(self._tasks)):
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except (EOFError, ConnectionResetError):
                raise self._death(connection) from None
            if isinstance(message, Event):
                yield message
                continue
            task = self._tasks.pop(connection)
            if isinstance(message, Exception):
                raise message
            yield task.name, message

    def _death(self, connection: Connection[Call, Answer | Event]) -> WorkerError:
        process = self._processes.pop(connection)
        task = self._tasks.pop(connection)
        process.join(STOP_PATIENCE)
        code = process.exitcode or 0
        if code == -signal.SIGKILL:
            return WorkerError(
                f"the worker at {task.name} was killed, most likely for lack of memory; "
                "rerun the command with fewer --workers to resume"
            )
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return WorkerError(f"the worker at {task.name} ended {how}; rerun the command to resume")

    def stop(self) -> None:
        """Let idle workers go and interrupt the busy ones, which save their state; kill what does not end."""
        try:
            for connection, process in self._processes.items():
                if connection in self._tasks:
                    process.terminate()
                else:
                    connection.close()
            deadline = time.monotonic() + STOP_PATIENCE
            for connection, process in self._processes.items():
                self._drain(connection, process, deadline)
        finally:
            for process in self._processes.values():
                if process.is_alive():
                    process.kill()
                    process.join()

    def _drain(self, connection: Connection[Call, Answer | Event], process: SpawnProcess, deadline: float) -> None:
        """Wait for the process to end, emptying the pipe so that it cannot block on it.

        Bytes, not messages: an interrupt may have come in the middle of one.
        """
        while not connection.closed and process.is_alive() and time.monotonic() < deadline:
            if connection.poll(0.05) and not _read(connection):
                connection.close()
        process.join(max(0.0, deadline - time.monotonic()))


def _read(connection: Connection[Call, Answer | Event]) -> bytes:
    try:
        return os.read(connection.fileno(), 65536)
    except OSError:  # the other end was reset
        return b""


def cuda_devices() -> int:
    """How many CUDA devices torch sees, asked in another process, and only where a driver is installed at all."""
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or shutil.which("nvidia-smi")):
        return 0
    question = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    answer = subprocess.run(question, capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else 0


def visible_devices(count: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES for processes that are to see only the first, the second, ... of `count` devices."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(i) for i in range(count)]


def settled(machine: Machine) -> tuple[Machine, int]:
    """The machine with "auto" decided and one thread a worker on the CPU, and the number of workers that suits it."""
    devices = 0 if machine.device == "cpu" else cuda_devices()
    if machine.device == "cuda" or devices:
        return dataclasses.replace(machine, device="cuda"), max(devices, 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return dataclasses.replace(machine, device="cpu", threads=machine.threads or 1), cores


@contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables for processes that are started inside; None unsets one."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
