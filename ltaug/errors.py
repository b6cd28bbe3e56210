"""Every mistake a user can make, as one exception tree; each kind has its own exit code."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

INTERRUPTED = 130  # the exit code after Ctrl-C or another signal to stop (signals.py)


class LtaugError(Exception):
    """A user's mistake, said in one sentence that carries the value, the limit and the remedy."""

    exit_code = 1


class OptionError(LtaugError):
    """An option, a recipe key or a name that does not exist or does not fit (exit code 2, as click's own)."""

    exit_code = 2


class DataError(LtaugError):
    """A dataset that cannot be used as it is: missing, empty, unreadable images, classes without images."""

    exit_code = 3


class BudgetError(LtaugError):
    """A per-class budget that is misspelt or cannot be met."""

    exit_code = 4


class MismatchError(LtaugError):
    """Two things that should belong together do not: class names, image shapes, a finished stage's inputs."""

    exit_code = 5


class RunExistsError(LtaugError):
    """The output directory exists and is not this run, or another process is writing it."""

    exit_code = 6


class CorruptError(LtaugError):
    """A file of a run is damaged: its content does not match the digest in its manifest."""

    exit_code = 7


def damaged(what: object, run: object) -> CorruptError:
    """The error for what is wrong in a run directory, with the remedy."""
    return CorruptError(f"{what}; delete {run} and run its command again")


class WorkerError(LtaugError):
    """A worker process, or one of those that fit a generator together, ended without an answer, most often for lack of memory."""

    exit_code = 8


class LeakError(LtaugError):
    """Synthetic images show test images, so that nothing learnt from them can be judged by these."""

    exit_code = 9


class ResourceError(LtaugError):
    """A disk, a limit of the system or the memory does not give what a command needs; what was saved stays as it is."""

    exit_code = 10


class EndedElsewhere(LtaugError):
    """Another process of this command ended it and says why; this one ends in silence with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"another process of this command ended with exit code {exit_code} and says why")
        self.exit_code = exit_code


_ELSEWHERE = "or name an --out on another disk"
_REMEDIES = {
    "ENOSPC": f"free space there, {_ELSEWHERE}",
    "EDQUOT": f"free space there, {_ELSEWHERE}",
    "EFBIG": f"raise the limit of a file's size (ulimit -f), {_ELSEWHERE}",
    "EIO": f"look after the disk, {_ELSEWHERE}",
    "ESTALE": f"mount its file system again, {_ELSEWHERE}",
    "ENAMETOOLONG": "give a shorter one",
    "EROFS": f"make it writable, {_ELSEWHERE}",
    "EMFILE": "raise the limit of open files (ulimit -n), or give fewer --workers",
    "ENFILE": "end other programs, which have too many files open, or give fewer --workers",
}
_BY_NUMBER = {getattr(errno, name): remedy for name, remedy in _REMEDIES.items() if hasattr(errno, name)}
_NO_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, torch or the system says so, of main memory or of a GPU's."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def resource_error(error: BaseException, where: object = "a file") -> ResourceError | None:
    """The sentence for an error that a disk, a limit of the system or the memory is behind; None for any other.

    Args:
        where: what is written, for an error that names no file.
    """
    if out_of_memory(error):
        what = "the GPU's memory" if "CUDA" in str(error) else "the memory"
        return ResourceError(
            f"{what} is not enough; give a smaller --micro-batch, --sample-batch or --batch-size (which is part of what is "
            "computed), fewer --workers, or --device cpu, or end other programs, and rerun the command"
        )
    # torch raises one of its own while the system's error is handled; safetensors writes the number into the text.
    cause = error.__context__ if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError) else error
    found = re.search(r"os error (\d+)|code: (\d+)", str(error)) if isinstance(error, SafetensorError) else None
    number = cause.errno if isinstance(cause, OSError) else int(found[1] or found[2]) if found else None
    if number is None or number not in _BY_NUMBER:
        return None
    named = getattr(cause, "filename", None) or where
    return ResourceError(f"{named}: {os.strerror(number).lower()}; {_BY_NUMBER[number]}, and rerun the command to resume")


@contextmanager
def told_of_resources(where: object = "a file") -> Iterator[None]:
    """Turn every exception that `resource_error` has a sentence for into that."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        if (told := resource_error(error, where)) is None:
            raise
        raise told from error


def nearest(name: str, names: Iterable[str]) -> str:
    """'did you mean X?' for the closest of `names`, or the whole list when none is close; the end of an error's sentence."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(names))}"
