"""Parts of one synthesis made by the workers of an engine: `ltaug synthesize --workers N` and `--engine`."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from ltaug.machine import Machine
from ltaug.pipeline.child import Answer
from ltaug.pipeline.local import settled
from ltaug.pipeline.plan import Task
from ltaug.pipeline.run import STAGES_MODULE, Engine, open_engine
from ltaug.runs import Event, Listener

PART = 256  # candidates, where --sample-batch does not say
AHEAD = 2  # parts under way for each worker, so that none waits for its next


class Workers:
    """Makes parts, `size` candidates each, of the synthesis in `out` (synthesis.stage.Hands)."""

    def __init__(self, engine: Engine, out: Path, size: int) -> None:
        self.size = size
        self._engine = engine
        self._out = out
        self._submitted = 0

    @property
    def slots(self) -> int:
        return AHEAD * self._engine.workers

    def submit(self, keys: Sequence[Any]) -> Future[Any]:
        self._submitted += 1
        asked = {"out": self._out, "keys": list(keys), "size": self.size}
        task = Task(f"{self._out.name}, part {self._submitted}", "make_part", asked, (), self._out)
        rows: Future[Any] = Future()
        self._engine.submit(task, -self._submitted).add_done_callback(partial(_hand_on, rows))
        return rows


def _hand_on(rows: Future[Any], made: Future[Answer]) -> None:
    error = made.exception()
    answer = made.result() if error is None else error
    if isinstance(answer, BaseException):
        rows.set_exception(answer)
    else:
        rows.set_result(pickle.loads(answer))


def workers_for(machine: Machine, workers: int | None, engine: str | None) -> int:
    """How many processes make a synthesis's parts: as asked, or one a CUDA device; 0 where this process makes them itself."""
    if engine is None and workers is None:
        settled_as, natural = settled(machine)
        workers = natural if settled_as.device == "cuda" else 1
    return 0 if engine is None and workers == 1 else workers or 1


@contextmanager
def hired(
    listener: Listener, *, out: Path, size: int, machine: Machine, workers: int, engine: str | None, module: str = STAGES_MODULE
) -> Iterator[Workers]:
    """Workers for the synthesis in `out`, until the end of the context; their messages, not their progress, go to `listener`.

    Raises:
        OptionError, WorkerError: see `dask.Dask`.
    """
    one_at_a_time = Lock()

    def tell(event: Event) -> None:
        if event.total is None:
            with one_at_a_time:
                listener(event)

    with closing(open_engine(engine, machine, workers=workers or None, module=module, tell=tell)) as taking:
        yield Workers(taking, out, size)
