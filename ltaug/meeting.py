"""Processes of one command that share a run directory: rank 0 opens it, the others join, and each waits for files.

Only files connect them, so any process may end and be restarted while the others wait.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from ltaug.place import Place
from ltaug.runs import LOCK_FILE, RUN_FILE, Event, Listener, Run, Spec, ignore_events, locked, read_run, require_same_spec

SHORTEST, LONGEST = 0.02, 0.5  # seconds between two checks
PATIENCE = 5.0  # seconds before the first message; doubles with every message


def wait_until(missing: Callable[[], str | None], tell: Callable[[str], None]) -> None:
    """Return as soon as nothing is missing.

    Args:
        missing: returns None, or a sentence about what is still missing.
        tell: called with that sentence if the wait is long.
    """
    began, pause, patience = time.monotonic(), SHORTEST, PATIENCE
    while True:
        try:
            sentence = missing()
        except OSError as error:
            # NFS reports this for a file that another machine has replaced since it was looked up.
            if error.errno != errno.ESTALE:
                raise
            sentence = ""
        if sentence is None:
            return
        if sentence and time.monotonic() - began > patience:
            tell(sentence)
            patience *= 2
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def names_in(folder: Path) -> set[str]:
    """The names in a folder now; none if the folder does not exist.

    Wait for files of other machines by listing, never with Path.exists: for up to a minute an NFS client may answer from its
    cache that a name does not exist, but it asks the server when a directory is opened.
    """
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


def wait_for_run(path: Path, tell: Callable[[str], None], *, finished: bool = False) -> dict[str, Any]:
    """Wait until rank 0 has opened (or finished) a run; returns its record.

    Raises:
        CorruptError: run.json is damaged.
    """
    done = "finish" if finished else "open"

    def missing() -> str | None:
        there = RUN_FILE in names_in(path) and (not finished or read_run(path)["status"] == "finished")
        return None if there else f"Waiting for rank 0 to {done} {path}."

    wait_until(missing, tell)
    return read_run(path)


@contextmanager
def join_run(
    path: Path, *, place: Place, label: str, listener: Listener = ignore_events, wait: float = 0.0, **spec: Unpack[Spec]
) -> Iterator[Run]:
    """Join the run that rank 0 opens (runs.open_run), and hold the lock of this rank.

    Args:
        spec: must be the same as rank 0's.
        wait: seconds to wait for another process with this rank.

    Raises:
        RunExistsError: another process has this rank.
        MismatchError: the run has another spec; every difference is named.
    """
    wait_for_run(path, lambda text: listener(Event(label, text)))
    taken = f"another process already works on {path} as rank {place.rank} of {place.world}; wait for it or stop it"
    with locked(path / _lock_of(place), taken, wait=wait):
        record = read_run(path)
        require_same_spec(path, record, spec)
        yield Run(path, record, listener, place)


def require_ended(path: Path, world: int) -> None:
    """Raise RunExistsError if one of the `world` processes that joined this run earlier still works on it."""
    for rank in range(1, world):
        lock = _lock_of(Place(rank, world))
        if lock in names_in(path):
            with locked(path / lock, f"rank {rank} of {world} is still working on {path}; stop it first"):
                pass


def _lock_of(place: Place) -> str:
    return f"{LOCK_FILE}-{place.rank}-of-{place.world}"
