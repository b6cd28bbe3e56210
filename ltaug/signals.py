"""Signals that tell a process to stop: Ctrl-C, SIGTERM, SIGUSR1 (SLURM's warning) and SIGHUP; this loads no torch."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ltaug.errors import INTERRUPTED

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
# Seconds: SLURM signals torchrun and its processes, torchrun passes its signal on, a shell repeats a terminal's SIGHUP.
ECHO = 5.0
LEAVING = 1.0  # seconds after a second signal for the process to end by itself


class StopFlag:
    """Set by the first signal, so that a loop can save its state before the process ends."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signal(*, echo: float = 0.0) -> Iterator[StopFlag]:
    """Turn the first signal into a flag that a loop checks; a second one interrupts at once.

    Args:
        echo: seconds during which a Ctrl-C counts as the first signal: a launcher may repeat the one that it got itself.
    """
    flag = StopFlag()

    def first() -> None:
        flag.requested = True

    with _on_signal(first, _interrupt, echo=echo):
        yield flag


@contextmanager
def interrupted_by_signals(*, echo: float = 0.0) -> Iterator[None]:
    """Turn every signal into KeyboardInterrupt, where no stage handles it; after a second one the process ends within LEAVING
    seconds, whatever it still waits for.
    """

    def again() -> None:
        end = threading.Timer(LEAVING, os._exit, (INTERRUPTED,))
        end.daemon = True
        end.start()
        _interrupt()

    with _on_signal(_interrupt, again, echo=echo):
        yield


def _interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def _on_signal(first: Callable[[], None], again: Callable[[], None], *, echo: float) -> Iterator[None]:
    """Call first() at the first signal, and again() at a Ctrl-C more than `echo` seconds later or another one after ECHO.

    Signals that this process was started to ignore, as SIGHUP under nohup, stay ignored. Outside the main thread, all are
    left alone.
    """
    began: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal began
        now = time.monotonic()
        if began is None:
            began = now
            first()
        elif now >= began + (echo if number == signal.SIGINT else max(echo, ECHO)):
            again()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
