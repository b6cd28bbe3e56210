"""How the processes of a group end together: each learns at once that another one has ended, and whether that one says why.

A collective of NCCL would wait many minutes for a lost process. But the system closes a process's connections however it ends,
so its end is known in milliseconds. A process that ends as planned, by a user's mistake or by an interrupt sends a byte first:
DONE, or the exit code with which it ends and the others shall end in silence.
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
from ltaug.errors import INTERRUPTED, EndedElsewhere, LtaugError, WorkerError
from ltaug.place import Place

TELLING = 3.0  # seconds in which one process's end is known to the others, at most
GRACE = 5.0  # seconds for the main thread to end by itself; inside a collective of NCCL it cannot
WRITING = 60.0  # seconds more for what must not be left half written
DONE = 0

log = logging.getLogger(__name__)


class Watch:
    """A thread that listens to the other processes.

    Attributes:
        unhurried: a lock; while the main thread holds it, it is not ended because of the others.
    """

    def __init__(self, place: Place, connections: Mapping[int, socket.socket]) -> None:
        self.unhurried = threading.Lock()
        self._place = place
        self._connections = connections
        self._verdict: LtaugError | None = None
        self._decided = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def verdict(self) -> LtaugError | None:
        """With what this process is to end because of another one, if it is; known within a moment of that one's end."""
        self._decided.wait(TELLING)
        return self._verdict

    def tell(self, code: int) -> None:
        """Tell the others that this process ends, and that it says why unless it is DONE."""
        for connection in self._connections.values():
            with suppress(OSError):  # it has ended itself
                connection.sendall(bytes([code]))

    def close(self) -> None:
        """Listen no more; nothing ends this process from here on."""
        self._over.set()
        for connection in self._connections.values():
            with suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)  # which wakes the thread up
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
                f"rank {rank} of {self._place.world} is gone (killed, out of memory, or its own output says why); "
                "the same command continues where it stopped"
            )
        else:
            self._verdict = EndedElsewhere(WorkerError.exit_code)
        if self._place.leads:
            self.tell(self._verdict.exit_code)
        self._decided.set()

    def _end(self, verdict: LtaugError) -> None:
        """End this process, whose main thread waits for what will never come."""
        self.unhurried.acquire(timeout=WRITING)
        if not isinstance(verdict, EndedElsewhere):
            log.critical("Error: %s", verdict)
        os._exit(verdict.exit_code)


@contextmanager
def watched(place: Place, connections: Mapping[int, socket.socket]) -> Iterator[Watch]:
    """End with the other processes: what is raised inside is told to them, and becomes what they are told to raise.

    Raises:
        WorkerError: another process was lost, and it is for this one to say so.
        EndedElsewhere: another process ended the command and says why.
    """
    watch = Watch(place, connections)
    try:
        yield watch
        watch.tell(DONE)
    except (LtaugError, OSError) as error:
        # The same mistake may be rank 0's, which is then the one to say it.
        if not place.leads and (verdict := watch.verdict()) is not None:
            raise verdict from error
        watch.tell(getattr(error, "exit_code", LtaugError.exit_code))
        raise
    except KeyboardInterrupt:
        watch.tell(INTERRUPTED)
        raise
    except RuntimeError as error:  # of a collective, most often, which another process left
        if (verdict := watch.verdict()) is not None:
            raise verdict from error
        raise
    finally:
        watch.close()
