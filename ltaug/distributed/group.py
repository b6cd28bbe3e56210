"""The group of processes that fit one generator together (torch.distributed); a single process is a group of one."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ltaug.distributed.connections import connect, store_of_start
from ltaug.distributed.watch import Watch, watched
from ltaug.errors import INTERRUPTED, OptionError, WorkerError
from ltaug.place import ALONE, Place
from ltaug.signals import ECHO, StopFlag, stop_on_signal

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=15)  # for all processes to join, and for a sum on the devices while rank 0 writes a checkpoint
CONTROL_PATIENCE = timedelta(days=2)  # for shared values, while rank 0 may decode a large set; `watch` notices lost processes
RETURNING = 15.0  # seconds more for the main thread to return to Python; torchrun kills 10 seconds later

log = logging.getLogger(__name__)


class Group:
    """Processes that take the same steps; all of them call each method, in the same order.

    Make one with `open_group`. Shared values travel between CPUs, so that no process waits for its device.
    """

    def __init__(self, place: Place, control: Any = None, watch: Watch | None = None) -> None:
        self.place = place
        self._control = control
        # Inside this context the process is not ended because another one was lost, so that it can finish what it writes.
        self.unhurried: AbstractContextManager[object] = nullcontext() if watch is None else watch.unhurried

    @property
    def alone(self) -> bool:
        return self.place.world == 1

    def broadcast(self, value: Value) -> Value:
        """Rank 0's value, whatever the others pass; anything that can be pickled."""
        return value if self.alone else _broadcast(value, self._control)

    def led(self, ask: Callable[[], Value]) -> Value:
        """The result of ask(), which only rank 0 calls."""
        return self.broadcast(ask() if self.place.leads else None)  # type: ignore[return-value]

    def any(self, mine: bool) -> bool:
        """Whether `mine` is true on any process."""
        if self.alone:
            return mine
        flag = torch.tensor(mine, dtype=torch.uint8)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._control)
        return bool(flag)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.any(False)

    def first_on_each_machine(self, do: Callable[[], Value]) -> Value:
        """Call do() in one process of every machine, then in its other processes, which find the first one's results cached."""
        if self.alone:
            return do()
        done = [do()] if self.place.local_rank == 0 else []
        self.wait()
        return done[0] if done else do()

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values`, which have the same shape on all processes; on their device, without gradient."""
        if not self.alone:
            values = values.detach().clone()
            dist.all_reduce(values)
        return values

    def gather(self, rows: Tensor, start: int, total: int) -> Tensor:
        """The rows of all processes, (total, D). This process's, (b, D), are at `start`; only they carry gradients."""
        if self.alone:
            return rows
        stop = start + len(rows)
        every = rows.new_zeros(total, *rows.shape[1:])
        every[start:stop] = rows.detach()
        dist.all_reduce(every)
        return torch.cat([every[:start], rows, every[stop:]])

    def share_of(self, count: int) -> slice:
        """Which of `count` consecutive things are this process's; the sizes of shares differ by at most one."""
        rank, world = self.place.rank, self.place.world
        return slice(rank * count // world, (rank + 1) * count // world)


SOLO = Group(ALONE)


@contextmanager
def stop_together(group: Group, *, echo: float = ECHO, patience: float = RETURNING) -> Iterator[StopFlag]:
    """signals.stop_on_signal for a group of processes, each of which checks `group.any(stop.requested)` after every step.

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


def _broadcast(value: Value, control: Any) -> Value:
    values = [value]
    dist.broadcast_object_list(values, src=0, group=control)
    return values[0]


@contextmanager
def open_group(place: Place, *, device: str) -> Iterator[Group]:
    """Join the other processes of the command, if there are any.

    They leave together. If one ends early, the others end too, within seconds: silently after a user's mistake (an LtaugError
    or OSError) or an interrupt, because that process reports it; with a WorkerError after anything else.

    Args:
        device: "auto", "cpu" or "cuda", as in machine.Machine.

    Raises:
        OptionError: the launcher does not give the address of rank 0, or this torch has no torch.distributed.
        WorkerError: not all processes joined, or one of them was lost.
        EndedElsewhere: another process ended the command and reports why.
    """
    if place.world == 1:
        yield SOLO
        return
    control, connections = _meet(place, device)
    with watched(place, connections) as watch:
        try:
            group = Group(place, control, watch)
            yield group
            group.wait()
        except KeyboardInterrupt:  # usually in all processes
            dist.destroy_process_group()
            raise
        # Not in a finally: after an error or a loss this could wait for the others, and the end of this process does it anyway.
        dist.destroy_process_group()


def _meet(place: Place, device: str) -> tuple[Any, dict[int, socket.socket]]:
    """Open the default process group, a second one on CPUs for shared values, and the connections of `watch`."""
    if not dist.is_available():
        raise OptionError(f"WORLD_SIZE={place.world}: this torch was built without torch.distributed; use a single process")
    if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise OptionError(f"WORLD_SIZE={place.world} needs MASTER_ADDR and MASTER_PORT, rank 0's address; start with torchrun")
    nccl = device != "cpu" and torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    try:
        launcher, *_ = next(iter(rendezvous("env://", place.rank, place.world, timeout=PATIENCE)))
        store = store_of_start(launcher, place, patience=PATIENCE)
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=PATIENCE)
        control: Any = dist.new_group(backend="gloo", timeout=CONTROL_PATIENCE)
        return control, connect(place, partial(_broadcast, control=control), master=os.environ["MASTER_ADDR"])
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise WorkerError(
            f"the {place.world} processes could not connect at {where} ({str(error).splitlines()[0]}); "
            "start all of them, on machines that can reach that address"
        ) from error
