"""`ltaug run RECIPE`: arms x seeds side by side, skipping what is done, and the report at the end."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ltaug.data.outside import require_outside
from ltaug.errors import OptionError
from ltaug.files import write_json
from ltaug.looks import MAX_SEEDS, ending, looks
from ltaug.machine import Machine
from ltaug.options import DatasetOptions
from ltaug.pipeline.dask import require_scheduler
from ltaug.pipeline.plan import Task, check_of, plan
from ltaug.pipeline.run import STAGES_MODULE, run_tasks
from ltaug.recipes import Recipe
from ltaug.runs import MARKER, RUN_FILE, Event, Listener, hold, ignore_events

if TYPE_CHECKING:
    from ltaug.report import Report


def run_recipe(
    recipe: Recipe,
    *,
    out: Path,
    seeds: int | None = None,
    first_seed: int = 0,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
    engine: str | None = None,
) -> Report:
    """Run every arm of the recipe over its seeds, in worker processes, and report; what was misspelt is refused before that.

    Run directories are out/seed-S/ARM/{generator,evaluation,synthetic,classifier}, out/seed-S/CONTROL/classifier (see
    Recipe.controls), out/seed-S/judges/judge-I, out/extractor and out/report.
    If interrupted, the same call resumes.

    Args:
        seeds: how many; None takes the recipe's number.
        workers: processes at a time; None: one per core on the CPU, or per CUDA device.
        engine: where else than on this machine, see `run_tasks`.

    Raises:
        LtaugError: a stage's mistake or mismatch; stages in progress are stopped and continue next time.
    """
    require_some(("--seeds", seeds))
    require_workers(workers, engine)
    tasks = with_check(plan(recipe, out, seeds, first_seed=first_seed))
    with claim(out, f"run {recipe.name}", tasks):
        results = run_tasks(tasks, workers=workers, machine=machine, listener=listener, engine=engine)
    return cast("Report", results["report"])


def run_until_decided(
    recipe: Recipe,
    *,
    out: Path,
    max_seeds: int = MAX_SEEDS,
    first_seed: int = 0,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
    module: str = STAGES_MODULE,
    engine: str | None = None,
) -> Report:
    """Run every arm of the recipe over 3, 5, 10, ... seeds (`looks`), until the report's verdict is decided, cannot be decided
    within `max_seeds` or has seen that many; returns the last report.

    An event after each look says what the verdict is and what the look took. In all else this is `run_recipe`: what is
    finished is not computed again, also where an earlier call was interrupted.

    Args:
        module, engine: see `run_tasks`.

    Raises:
        LtaugError: as `run_recipe`, or `max_seeds` is below the first look's.
    """
    require_workers(workers, engine)
    planned = looks(max_seeds)
    with claim(out, f"run {recipe.name}", plan(recipe, out, planned[0], first_seed=first_seed)):
        for number, seeds in enumerate(planned, 1):
            began, before = time.monotonic(), _processor()
            tasks = with_check(plan(recipe, out, seeds, first_seed=first_seed))
            how: dict[str, Any] = {"workers": workers, "machine": machine, "listener": listener, "module": module}
            results = run_tasks(tasks, **how, engine=engine)
            report = cast("Report", results["report"])
            verdict, minutes = report.verdict, (time.monotonic() - began) / 60
            took = f"this look took {minutes:.1f} min, {(_processor() - before) / 60:.1f} processor minutes"
            listener(Event("", f"Look {number}, at {seeds} seeds: {verdict.headline.removesuffix('.')} ({took})."))
            end = ending(seeds, max_seeds, decided=verdict.decided, needed=verdict.seeds_needed)
            if end is not None:
                break
    assert end is not None, "the look at max_seeds is the last"
    listener(Event("", end))
    return report


def require_some(*options: tuple[str, int | None]) -> None:
    for option, number in options:
        if number is not None and number < 1:
            raise OptionError(f"{option} {number} must be at least 1")


def require_workers(workers: int | None, engine: str | None) -> None:
    """Raise OptionError for a number of workers that cannot be, or an engine that is none or brings its own workers."""
    require_some(("--workers", workers))
    if engine is not None and workers is not None:
        raise OptionError(f"--workers {workers} is read only without --engine; leave it out, and start as many Dask workers")
    if engine is not None:
        require_scheduler(engine)


def with_check(tasks: list[Task], *, asked: Sequence[Task] = ()) -> list[Task]:
    """The tasks after a check of all that they, or those in `asked`, are asked to do, unless they are finished."""
    if all(task.finished for task in tasks if task.function != "write_report"):
        return tasks
    check = check_of(asked or tasks)
    return [check, *(dataclasses.replace(task, needs=(check.name, *task.needs)) for task in tasks)]


def _processor() -> float:
    """Processor seconds of this process and of the workers that have ended."""
    return sum(os.times()[:4])


def run_planned(tasks: Sequence[Task], *, out: Path, what: str, **how: Any) -> None:
    """Run tasks below `out`, claimed for the command `what`; for the other arguments see `run_tasks`.

    Raises:
        LtaugError: see `claim` and `run_tasks`.
    """
    with claim(out, what, tasks):
        run_tasks(tasks, **how)


@contextmanager
def claim(out: Path, what: str, tasks: Sequence[Task] = (), *, wait: float = 0.0) -> Iterator[None]:
    """Hold a directory of several runs: new, empty, or claimed before; nobody else may write it meanwhile.

    Args:
        tasks: what is to be run there.
        wait: seconds to wait for another process.

    Raises:
        OptionError: it lies among images that the tasks read.
        RunExistsError: it is a file, holds something else, or another process holds it.
    """
    for name in {name for task in tasks for name in _read_by(task)}:
        require_outside(out, name)
    with hold(out, mark=MARKER, otherwise="was not made by this command", wait=wait):
        if not (out / MARKER).exists():
            write_json(out / MARKER, {"made_by": f"ltaug {what}"})
        yield


def _read_by(task: Task) -> Iterator[str]:
    """The datasets that a task reads, synthetic images that are no run among them."""
    yield task.kwargs.get("dataset", {}).get("dataset", DatasetOptions.dataset)
    for given in (task.kwargs.get("synthetic"), task.kwargs.get("resampled_to")):
        if given is not None and not (given / RUN_FILE).is_file():
            yield f"folder:{given}"
