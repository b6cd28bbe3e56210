"""A worker process: makes one stage call after another and sends events and results to its parent."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from ltaug.errors import INTERRUPTED, LtaugError, told_of_resources
from ltaug.runs import Event
from ltaug.signals import interrupted_by_signals

EVENT_INTERVAL = 0.2  # seconds between the progress events of one activity


Call = tuple[str, Mapping[str, Any]]  # what the parent asks for: a function of the stages module, and its arguments
Answer = bytes | LtaugError | OSError  # what comes back: the function's result, pickled, or the user's mistake it ran into


def work(connection: Connection[Answer | Event, Call], module: str) -> None:
    """Answer calls until the parent closes the connection; an interrupted call ends the process.

    Mistakes of the user are sent to the parent; any other exception ends the process with its traceback.
    """
    _end_with_the_parent()
    try:
        with interrupted_by_signals():
            _answer_calls(connection, module)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _answer_calls(connection: Connection[Answer | Event, Call], module: str) -> None:
    listener = _Sender(connection)
    while True:
        try:
            name, kwargs = connection.recv()
        except EOFError:
            return
        answer: Answer
        try:
            with told_of_resources(kwargs.get("out", "a file")):
                answer = pickle.dumps(getattr(importlib.import_module(module), name)(**kwargs, listener=listener))
        except (LtaugError, OSError) as error:
            answer = error
        connection.send(answer)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Block SIGINT for the workers that are started inside.

    Ctrl-C reaches every process of a terminal's group; the parent alone handles it, and sends workers SIGTERM.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing starts it with the first process, and unblocks SIGINT after that
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Sender:
    """A listener that sends events to the parent, leaving out progress that comes faster than anyone can read.

    A run's sinks hear every event: they are called in this process, before any is left out.
    """

    def __init__(self, connection: Connection[Answer | Event, Call]) -> None:
        self._connection = connection
        self._sent: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        key, now = (event.run, event.text), time.monotonic()
        if event.total is not None and 0 < event.step < event.total and now - self._sent.get(key, 0.0) < EVENT_INTERVAL:
            return
        self._sent[key] = now
        self._connection.send(event)


def _end_with_the_parent() -> None:
    """Exit as soon as the parent dies, however it dies, so that its runs can be resumed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
