"""How the processes of a group end together: each learns at once that another has ended, and whether that one reports why.

An NCCL collective would wait many minutes for a lost process. But the system closes a process's connections however it ends,
so the others know within milliseconds. A process that finishes, or ends because of a user's mistake or an interrupt, first
sends a byte: DONE, or its exit code, with which the others then end silently.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ltaug.distributed.connections import receive
from ltaug.errors import INTERRUPTED, EndedElsewhere, LtaugError, WorkerError, resource_error
from ltaug.place import Place

TELLING = 3.0  # seconds within which the others know of a process's end
GRACE = 5.0  # seconds for the main thread to end by itself; inside an NCCL collective it cannot
WRITING = 60.0  # seconds more to finish writing a checkpoint
DONE = 0

log = logging.getLogger(__name__)


class Watch:
    """A thread that listens to the other processes."""

    def __init__(self, place: Place, connections: Mapping[int, socket.socket]) -> None:
        self.unhurried = threading.Lock()  # while the main thread holds it, the process is not ended because of the others
        self._place = place
        self._connections = connections
        self._verdict: LtaugError | None = None
        self._decided = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def verdict(self) -> LtaugError | None:
        """The error with which this process ends because of another one, or None; waits up to TELLING seconds for it."""
        self._decided.wait(TELLING)
        return self._verdict

    def tell(self, code: int) -> None:
        """Tell the others that this process ends: DONE, or an exit code, which says that it reports why."""
        for connection in self._connections.values():
            with suppress(OSError):  # that process has ended too
                connection.sendall(bytes([code]))

    def close(self) -> None:
        """Stop listening; from here on nothing ends this process."""
        self._over.set()
        for connection in self._connections.values():
            with suppress(OSError):  # the other side closed it first
                connection.shutdown(socket.SHUT_RDWR)  # this wakes the thread
        self._thread.join()
        for connection in self._connections.values():
            connection.close()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, rank)
            while self._verdict is None and selector.get_map():
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    said = receive(key.fileobj, 1)
                    if self._over.is_set():
                        return
                    selector.unregister(key.fileobj)
                    if said != bytes([DONE]):
                        self._decide(key.data, said)
                        break
        if self._verdict is not None and not self._over.wait(GRACE):
            self._end(self._verdict)

    def _decide(self, rank: int, said: bytes) -> None:
        if said:
            self._verdict = EndedElsewhere(said[0])
        elif self._place.leads or self._place.rank == 1 or self._place.local_rank == 0:
            self._verdict = WorkerError(
                f"rank {rank} of {self._place.world} was lost (killed, out of memory, or its own output says why); "
                "rerun the command to resume"
            )
        else:
            self._verdict = EndedElsewhere(WorkerError.exit_code)
        if self._place.leads:
            self.tell(self._verdict.exit_code)
        self._decided.set()

    def _end(self, verdict: LtaugError) -> None:
        """End this process, whose main thread waits for a process that has ended."""
        self.unhurried.acquire(timeout=WRITING)
        if not isinstance(verdict, EndedElsewhere):
            log.critical("Error: %s", verdict)
        os._exit(verdict.exit_code)


@contextmanager
def watched(place: Place, connections: Mapping[int, socket.socket]) -> Iterator[Watch]:
    """End together with the other processes: tell them if this one fails, and raise what follows from their end.

    Raises:
        WorkerError: another process was lost, and this one reports it.
        EndedElsewhere: another process ended the command and reports why.
    """
    watch = Watch(place, connections)
    try:
        yield watch
        watch.tell(DONE)
    except (LtaugError, OSError) as error:
        # Rank 0 may have made the same mistake; then rank 0 reports it.
        if not place.leads and (verdict := watch.verdict()) is not None:
            raise verdict from error
        watch.tell(getattr(resource_error(error) or error, "exit_code", LtaugError.exit_code))
        raise
    except KeyboardInterrupt:
        watch.tell(INTERRUPTED)
        raise
    except RuntimeError as error:  # usually from a collective that another process left
        if (verdict := watch.verdict()) is not None:
            raise verdict from error
        raise
    finally:
        watch.close()
