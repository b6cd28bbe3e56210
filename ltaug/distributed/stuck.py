"""Signals that work even if the main thread waits in a collective that no other process will join."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ltaug.distributed.group import Group
from ltaug.errors import INTERRUPTED
from ltaug.runtime import StopFlag, stop_on_signal

ECHO = 5.0  # seconds; SLURM signals torchrun and its processes, and torchrun passes its signal on to them
PATIENCE = 15.0  # seconds more for the main thread to return to Python; torchrun kills 10 seconds later

log = logging.getLogger(__name__)


@contextmanager
def stop_together(group: Group, *, echo: float = ECHO, patience: float = PATIENCE) -> Iterator[StopFlag]:
    """runtime.stop_on_signal for a group of processes, each of which checks `group.any(stop.requested)` after every step.

    Python handles signals only when the main thread returns from native code. If it does not within `echo + patience` seconds
    of a signal, or has not left this context as long after a second one, the process ends with exit code 130.
    """
    with stop_on_signal(echo=0.0 if group.alone else echo) as stop:
        if group.alone or threading.current_thread() is not threading.main_thread():
            yield stop
            return
        here, there = socket.socketpair()
        there.setblocking(False)
        before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)  # the system's handler writes to it
        over = threading.Event()
        threading.Thread(target=_listen, args=(here, stop, over, echo, patience), daemon=True).start()
        try:
            yield stop
        finally:
            signal.set_wakeup_fd(before)
            over.set()
            there.close()


def _listen(signals: socket.socket, stop: StopFlag, over: threading.Event, echo: float, patience: float) -> None:
    """End the process if it is stuck. After a first signal it may still write a checkpoint; after a second it must leave."""
    first = True
    with signals:
        while signals.recv(1) and not over.wait(echo):
            with suppress(BlockingIOError):
                signals.recv(1024, socket.MSG_DONTWAIT)  # discard the echo
            if over.wait(patience):
                return
            if not (first and stop.requested):
                log.critical("Error: stuck after a signal and stopped; rerun the command to resume from the last checkpoint")
                os._exit(INTERRUPTED)
            first = False
