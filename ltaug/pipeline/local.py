"""Stage calls on this machine: threads, each of which has a child process at work."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

from ltaug.machine import Machine
from ltaug.pipeline.child import Answer, Child, stop
from ltaug.pipeline.plan import Task
from ltaug.runs import Listener


class Local:
    """The engine of this machine: `workers` child processes, started when they are first needed and kept for the next call.

    An engine takes `slots` tasks at a time, of which `workers` are under way, and hands their events to `tell`. For the other
    arguments see `run.run_tasks`.
    """

    def __init__(self, machine: Machine, *, workers: int | None, module: str, tell: Listener) -> None:
        self._machine, natural = settled(machine)
        self._devices = visible_devices(natural) if self._machine.device == "cuda" else []
        self.slots = self.workers = workers or natural
        self._module, self._tell = module, tell
        self._threads = ThreadPoolExecutor(self.slots, initializer=_without_interrupts)
        self._children: list[Child] = []
        self._idle: list[Child] = []
        self._open, self._lock = True, threading.Lock()

    def submit(self, task: Task, priority: int) -> Future[Answer]:
        """Make a task's call, before those of lower priority; WorkerError if the process that makes it is lost."""
        return self._threads.submit(self._call, task)

    def _call(self, task: Task) -> Answer:
        child = self._child()
        answer = child.call((task.function, {**task.kwargs, "machine": self._machine}), task.name, self._tell)
        self._idle.append(child)
        return answer

    def _child(self) -> Child:
        """An idle child, or a new one; the i-th computes on device i, modulo their number."""
        with self._lock:
            if not self._open:
                raise CancelledError
            if self._idle:
                return self._idle.pop()
            device = self._devices[len(self._children) % len(self._devices)] if self._devices else None
            self._children.append(Child(self._module, self._machine, device=device))
            return self._children[-1]

    def close(self) -> None:
        """Let calls in progress save their state, and wait for that."""
        with self._lock:
            self._open = False
        stop(self._children)
        self._threads.shutdown()


def _without_interrupts() -> None:
    """Block SIGINT in a thread and the processes that it starts.

    Ctrl-C reaches every process of a terminal's group; the parent alone handles it, and sends the others SIGTERM.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


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
