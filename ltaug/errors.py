"""Every mistake a user can make, as one exception tree; each kind has its own exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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


class WorkerError(LtaugError):
    """A worker process, or one of those that fit a generator together, ended without an answer, most often for lack of memory."""

    exit_code = 8


class LeakError(LtaugError):
    """Synthetic images show test images, so that nothing learnt from them can be judged by these."""

    exit_code = 9


class EndedElsewhere(LtaugError):
    """Another process of this command ended it and says why; this one ends in silence with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"another process of this command ended with exit code {exit_code} and says why")
        self.exit_code = exit_code


def nearest(name: str, names: Iterable[str]) -> str:
    """'did you mean X?' for the closest of `names`, or the whole list when none is close; the end of an error's sentence."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(names))}"
