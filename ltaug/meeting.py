"""Processes of one command that meet in a run directory: rank 0 opens it, the others join, and each waits for files.

Nothing but the files connects them, so any of them may end and be started again while the others wait.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ltaug.errors import RunExistsError
from ltaug.place import Place
from ltaug.runs import LOCK_FILE, RUN_FILE, Event, Listener, Run, ignore_events, read_run, require_same_spec

SHORTEST, LONGEST = 0.02, 0.5  # seconds between two looks
PATIENCE = 5.0  # seconds before anything is said; twice as many before it is said again, and so on


def wait_until(missing: Callable[[], str | None], tell: Callable[[str], None]) -> None:
    """Return as soon as nothing is missing.

    Args:
        missing: None, or a sentence about what is still to come.
        tell: hears that sentence where it takes long.
    """
    began, pause, patience = time.monotonic(), SHORTEST, PATIENCE
    while True:
        try:
            sentence = missing()
        except OSError as error:
            # NFS says so of a file that another machine has replaced since it was looked up.
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
    """What lies in a folder now; nothing where there is none.

    Processes on other machines put files there. An NFS client may answer for a minute from its cache that a name does not
    exist, but asks the server when a directory is opened; so waiting is done by listing, never by Path.exists.
    """
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


def wait_for_run(path: Path, tell: Callable[[str], None], *, finished: bool = False) -> dict[str, Any]:
    """The record of a run that rank 0 opens (or finishes), as soon as it has.

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
    path: Path,
    *,
    place: Place,
    stage: str,
    label: str,
    seed: int,
    options: Mapping[str, Any],
    inputs: Mapping[str, Any],
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Iterator[Run]:
    """Take part in the run that rank 0 opens (runs.open_run), as soon as it has; hold the lock of this rank.

    Args:
        stage, seed, options, inputs: must be those that rank 0 was given.
        wait: seconds to wait for another process that is this rank.

    Raises:
        RunExistsError: another process is this rank.
        MismatchError: it is a run of this stage with another spec; every difference is named.
    """
    wait_for_run(path, lambda text: listener(Event(label, text)))
    lock = FileLock(path / _lock_of(place))
    try:
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise RunExistsError(f"rank {place.rank} of {place.world} is at work on {path} already; wait for it or end it") from error
    try:
        record = read_run(path)
        require_same_spec(path, record, {"stage": stage, "seed": seed, "options": options, "inputs": inputs})
        yield Run(path, record, listener, place)
    finally:
        lock.release()


def require_ended(path: Path, world: int) -> None:
    """Raise RunExistsError where one of the `world` processes that joined this run before is still at work on it."""
    for rank in range(1, world):
        lock = path / _lock_of(Place(rank, world))
        if lock.name not in names_in(path):
            continue
        try:
            FileLock(lock).acquire(timeout=0).lock.release()
        except Timeout as error:
            raise RunExistsError(f"rank {rank} of {world} is still at work on {path}; end it first") from error


def _lock_of(place: Place) -> str:
    return f"{LOCK_FILE}-{place.rank}-of-{place.world}"
