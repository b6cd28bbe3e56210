"""`ltaug run RECIPE`: arms x seeds side by side, skipping what is done, and the report at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ltaug.errors import OptionError
from ltaug.files import write_json
from ltaug.machine import Machine
from ltaug.meeting import names_in, wait_until
from ltaug.pipeline.plan import Task, check_of, origin, plan, plan_classifiers
from ltaug.pipeline.schedule import STAGES_MODULE, run_tasks, settled
from ltaug.place import ALONE, Place
from ltaug.recipes import Recipe
from ltaug.runs import RUN_FILE, Event, Listener, hold, ignore_events

if TYPE_CHECKING:
    from ltaug.report import Report

__all__ = ["Task", "claim", "origin", "plan", "plan_classifiers", "run_recipe", "run_shared", "run_tasks", "settled"]

MARKER = "experiment.json"


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
    """Run every arm of the recipe over its seeds, in worker processes, and report; what was misspelt is refused before that.

    Run directories are out/seed-S/ARM/{generator,evaluation,synthetic,classifier}, out/seed-S/CONTROL/classifier (see
    Recipe.controls), out/seed-S/judges/judge-I, out/extractor and out/report.
    If interrupted, the same call resumes. Workers are started by spawn, so a script that calls this
    does so under `if __name__ == "__main__"`.

    Args:
        seeds: how many; None takes the recipe's number.
        workers: processes at a time; None: one per core on the CPU, or per CUDA device.

    Raises:
        LtaugError: a stage's mistake or mismatch; stages in progress are stopped and continue next time.
    """
    for option, number in (("--seeds", seeds), ("--workers", workers)):
        if number is not None and number < 1:
            raise OptionError(f"{option} {number} must be at least 1")
    tasks = plan(recipe, out, seeds, first_seed=first_seed)
    if not all(task.finished for task in tasks if task.function != "write_report"):
        check = check_of(tasks)
        tasks = [check, *(dataclasses.replace(task, needs=(check.name, *task.needs)) for task in tasks)]
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
    with claim(out, what) if place.leads else nullcontext():
        if not place.leads:
            unclaimed = f"Waiting for rank 0 to claim {out}."
            wait_until(lambda: None if MARKER in names_in(out) else unclaimed, lambda text: listener(Event("", text)))
        run_tasks(place.share(tasks), workers=workers, machine=machine, listener=listener, module=module, place=place)
        if place.world > 1 and place.leads:
            _await(tasks, listener)


def _await(tasks: Sequence[Task], listener: Listener) -> None:
    """Wait until every task is finished, whoever runs it."""

    def missing() -> str | None:
        left = [task.name for task in tasks if RUN_FILE not in names_in(task.directory) or not task.finished]
        return f"Waiting for other processes to finish {', '.join(left[:3])}{' ...' if len(left) > 3 else ''}." if left else None

    wait_until(missing, lambda text: listener(Event("", text)))


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
