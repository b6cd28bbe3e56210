"""`ltaug run RECIPE`: arms x seeds side by side, skipping what is done, and the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ltaug.errors import OptionError, WorkerError
from ltaug.options import Machine
from ltaug.pipeline.plan import origin, plan, plan_classifiers
from ltaug.pipeline.schedule import STAGES_MODULE, run_tasks, settled
from ltaug.pipeline.task import Task
from ltaug.place import ALONE, Place
from ltaug.recipes import Recipe
from ltaug.runs import Event, Listener, hold, ignore_events, write_json

if TYPE_CHECKING:
    from ltaug.report import Report

__all__ = ["Task", "claim", "origin", "plan", "plan_classifiers", "run_recipe", "run_shared", "run_tasks", "settled"]

MARKER = "experiment.json"
CLAIM_PATIENCE = 120.0  # seconds for rank 0 to claim a directory; its machine may be slower to start
POLL = 0.5  # seconds between two looks at a shared directory


def run_recipe(
    recipe: Recipe,
    *,
    out: Path,
    seeds: int | None = None,
    first_seed: int = 0,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
) -> Report:
    """Run every arm of the recipe over its seeds, in worker processes, and report.

    Run directories are out/seed-S/ARM/{generator,evaluation,synthetic,classifier}, out/seed-S/judges/judge-I, out/extractor and
    out/report.
    Interrupted at any moment, the same call continues. Workers are started by spawn, so a script that calls this
    does so under `if __name__ == "__main__"`.

    Args:
        seeds: how many; None takes the recipe's number.
        workers: processes at a time; None: one per core on the CPU, or per CUDA device.

    Raises:
        LtaugError: a stage's mistake or mismatch; stages in progress are stopped and continue next time.
    """
    if seeds is not None and seeds < 1:
        raise OptionError(f"--seeds {seeds} must be at least 1")
    if workers is not None and workers < 1:
        raise OptionError(f"--workers {workers} must be at least 1")
    tasks = plan(recipe, out, seeds, first_seed=first_seed)
    with claim(out, recipe.name):
        results = run_tasks(tasks, workers=workers, machine=machine, listener=listener)
    return cast("Report", results["report"])


def run_shared(
    tasks: Sequence[Task],
    *,
    out: Path,
    what: str,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
    module: str = STAGES_MODULE,
    place: Place = ALONE,
) -> None:
    """Run tasks that need nothing of each other, each wholly by one of the processes that share them, below `out`.

    Every process calls this with the same tasks, and may be started again by itself. The one that leads claims `out` and
    returns when the runs of all are finished; the others return after their own.

    Args:
        what: the command, for the claim.
        workers, module: see `run_tasks`.

    Raises:
        LtaugError: see `claim` and `run_tasks`.
    """
    with claim(out, what) if place.leads else joined(out):
        run_tasks(place.share(tasks), workers=workers, machine=machine, listener=listener, module=module, place=place)
        if place.world > 1 and place.leads:
            _await(tasks, listener)


def _await(tasks: Sequence[Task], listener: Listener) -> None:
    """Wait until every task is finished, whoever runs it."""
    told = -1
    while (done := sum(task.finished for task in tasks)) < len(tasks):
        if done > told:
            listener(Event("", "stages, some of them by other processes", done, len(tasks)))
            told = done
        time.sleep(POLL)


@contextmanager
def joined(out: Path) -> Iterator[None]:
    """Work below a directory that another process has claimed, or will have in a moment.

    Raises:
        WorkerError: nobody has.
    """
    deadline = time.monotonic() + CLAIM_PATIENCE
    while not (out / MARKER).exists():
        if time.monotonic() > deadline:
            raise WorkerError(
                f"{out} was not claimed by rank 0 within {CLAIM_PATIENCE:.0f} s; start all processes, which share it"
            )
        time.sleep(POLL)
    yield


@contextmanager
def claim(out: Path, what: str) -> Iterator[None]:
    """Hold a directory of several runs: new, empty, or claimed before; nobody else may write it meanwhile.

    Raises:
        RunExistsError: it is a file, holds something else, or another process holds it.
    """
    with hold(out, mark=MARKER, otherwise="was not made by this command"):
        if not (out / MARKER).exists():
            write_json(out / MARKER, {"made_by": f"ltaug {what}"})
        yield
