"""Stage calls in a process of their own, since only a process's main thread hears the signal to save its state; both its ends."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from ltaug.errors import INTERRUPTED, LtaugError, WorkerError, told_of_resources
from ltaug.machine import Machine
from ltaug.place import says_a_place
from ltaug.runs import Event, Listener
from ltaug.signals import interrupted_by_signals

STOP_PATIENCE = 15.0  # seconds a child may take to save its state after SIGTERM
EVENT_INTERVAL = 0.2  # seconds between the progress events of one activity
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CUT = (EOFError, pickle.UnpicklingError, BrokenPipeError)  # what reading and writing meet where the other end has died

Call = tuple[str, Mapping[str, Any]]  # a function of the stages module, and its arguments
Answer = bytes | LtaugError | OSError  # the function's result, pickled, or the user's mistake that it ran into


class Child:
    """A process that makes one stage call after another, and ends when this one does.

    Args:
        module: where the stage functions are.
        machine: of its calls; it says how many threads libraries start with.
        device: the one CUDA device that it sees.
        folder: its working directory.
    """

    def __init__(self, module: str, machine: Machine, *, device: str | None = None, folder: Path | None = None) -> None:
        given = dict.fromkeys(THREAD_VARIABLES, str(machine.threads)) if machine.threads else {}
        given |= {"CUDA_VISIBLE_DEVICES": device} if device is not None else {}
        around = {name: value for name, value in os.environ.items() if not says_a_place(name)} | given
        code = f"import sys; sys.path[:] = {sys.path!r}; from ltaug.pipeline.child import work; work({module!r})"
        command, pipe = [sys.executable, "-c", code], subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=around, cwd=folder)

    def call(self, call: Call, name: str, tell: Listener) -> Answer:
        """Make a call for the task `name`, and wait for its answer; WorkerError if the process ends without one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _send(self.process.stdin, pickle.dumps(call))
            while isinstance(message := pickle.load(self.process.stdout), Event):
                tell(message)
        except CUT:
            raise self._death(name) from None
        answer: Answer = message
        return answer

    def _death(self, name: str) -> WorkerError:
        code = self.process.wait()
        if code == -signal.SIGKILL:
            remedy = "rerun the command with fewer --workers to resume"
            return WorkerError(f"the worker at {name} was killed, most likely for lack of memory; {remedy}")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return WorkerError(f"the worker at {name} ended {how}; rerun the command to resume")


def stop(children: Sequence[Child]) -> None:
    """Interrupt the children, so that those at work save their state; kill what does not end within STOP_PATIENCE."""
    deadline = time.monotonic() + STOP_PATIENCE
    try:
        for child in children:
            child.process.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()


def work(module: str) -> None:
    """In the child: answer calls until a signal interrupts it, or its parent dies.

    Mistakes of the user are answers; any other exception ends the process with its traceback.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(calls,), daemon=True).start()
    listener = _Listener(answers)
    try:
        with interrupted_by_signals():
            while True:
                _send(answers, _answer(module, pickle.loads(calls.get()), listener))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _answer(module: str, call: Call, listener: Listener) -> Answer:
    function, kwargs = call
    try:
        with told_of_resources(kwargs.get("out", "a file")):
            return pickle.dumps(getattr(importlib.import_module(module), function)(**kwargs, listener=listener))
    except (LtaugError, OSError) as error:
        return error


def _receive(calls: SimpleQueue[bytes]) -> None:
    """Take calls from the parent; exit as soon as it dies, however it dies, so that its runs can be resumed."""
    pipe = os.fdopen(os.dup(0), "rb")
    with contextlib.suppress(*CUT):
        while True:
            calls.put(pickle.load(pipe))
    os._exit(1)


def _send(pipe: BinaryIO | Any, message: Any) -> None:
    pipe.write(pickle.dumps(message))  # at once: threads may send side by side
    pipe.flush()


class _Listener:
    """A listener that sends events to the parent, leaving out progress that comes faster than anyone can read.

    A run's sinks hear every event: they are called in this process, before any is left out.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._sent: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        key, now = (event.run, event.text), time.monotonic()
        if event.total is not None and 0 < event.step < event.total and now - self._sent.get(key, 0.0) < EVENT_INTERVAL:
            return
        self._sent[key] = now
        _send(self._pipe, event)
