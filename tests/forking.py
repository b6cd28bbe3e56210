"""Processes forked from one that has loaded everything (forked.py), so that a command takes no start of Python and torch."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing import connection, forkserver
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest


def forking():
    """The context that makes them."""
    here = str(Path(__file__).parent)
    multiprocessing.set_forkserver_preload(["forked"])
    # The server leaves out, without a word, what it cannot import, and Python 3.11 does not give it this process's sys.path.
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}):
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


class Python:
    """`python ARGUMENTS` (-m, -c or a file) in a fork and a session of its own, with what tests use of subprocess.Popen.

    The workers that it starts are forks, too; in no process group of its own, so that a signal to a group is for real processes.
    """

    def __init__(self, where: Path, *arguments: str, **variables: str) -> None:
        self._told = tempfile.TemporaryDirectory()
        given = (where, list(map(str, arguments)), os.environ | variables, self._told.name)
        self._process = forking().Process(target=_python, args=given)
        self._process.start()
        self.pid, self.poll, self.kill = self._process.pid, lambda: self.returncode, self._process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        _wait(self._process, timeout)
        out, err = ((Path(self._told.name) / name).read_text() for name in ("stdout", "stderr"))
        return out, err


def _python(where: Path, arguments: list[str], environment: dict[str, str], told: str) -> None:
    os.setsid()
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = Path(told, name).open("w")  # noqa: SIM115
        os.dup2(file.fileno(), number)
        setattr(sys, name, file)
    # The server that this was forked from; Python would start another.
    forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None
    with pytest.MonkeyPatch.context() as patching:
        fork_workers(patching)
        kind, *rest = arguments
        sys.argv = ["-c", *rest[1:]] if kind == "-c" else rest if kind == "-m" else arguments
        if kind == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            exec(rest[0], {"__name__": "__main__"})
        else:
            runpy.run_path(kind, run_name="__main__")


def fork_workers(patching: pytest.MonkeyPatch) -> None:
    """Let `ltaug run`, `grow` and others fork their workers."""
    from ltaug.pipeline import child

    names = {"PIPE": None, "TimeoutExpired": subprocess.TimeoutExpired}
    patching.setattr(child, "subprocess", SimpleNamespace(Popen=Worker, **names))


class Worker:
    """`python -c CODE` in a fork, with what ltaug.pipeline.child uses of subprocess.Popen: two pipes, this process's stderr."""

    def __init__(self, command, *, env, cwd=None, **_) -> None:
        context = forking()
        (calls, sent), (received, answers) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        err = connection.Connection(os.dup(2), readable=False)
        self._process = context.Process(target=_worker, args=(command[-1], dict(env), cwd, calls, answers, err))
        self._process.start()
        self.stdin, self.stdout = os.fdopen(os.dup(sent.fileno()), "wb"), os.fdopen(os.dup(received.fileno()), "rb")
        for end in (calls, sent, received, answers, err):
            end.close()
        self.pid, self.terminate, self.kill = self._process.pid, self._process.terminate, self._process.kill

    def wait(self, timeout: float | None = None) -> int:
        _wait(self._process, timeout)
        return self._process.exitcode


def _worker(code: str, environment: dict[str, str], folder: Path | None, *ends: connection.Connection) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for number, end in enumerate(ends):
        os.dup2(end.fileno(), number)
        end.close()
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    exec(code, {})


def _wait(process, timeout: float | None) -> None:
    process.join(timeout)
    if process.exitcode is None:
        raise subprocess.TimeoutExpired("fork", timeout or 0.0)
