"""--dry-run: what would be done, what is done already, and what it would take; a few steps of each stage are measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ltaug.cli import show
from ltaug.cli.progress import duration
from ltaug.disk import size
from ltaug.fields import shown
from ltaug.machine import Machine
from ltaug.pipeline.local import settled
from ltaug.pipeline.plan import STAGE_OF, Task, described
from ltaug.place import place_of
from ltaug.runs import RUN_FILE, read_run, require_same_spec

Estimate = dict[str, Any]


def stage(function: str, out: Path, kwargs: Mapping[str, Any], machine: Machine, *, as_json: bool) -> None:
    """What one stage would do, with every option as it would be; measured and said by the process that leads, as if alone.

    Raises:
        MismatchError: `out` was made with other options, which the stage would refuse too.
    """
    if not place_of().leads:
        return
    task = Task(out.name, function, dict(kwargs), (), out)
    name, dataset, given, generator = described(task, [task])
    from ltaug import stages

    source = kwargs.get("source")
    options = {} if source is None else {"from": str(source)}

    def settle(chosen: Any) -> None:
        own = dataclasses.asdict(chosen)
        options.update(own)
        if name != "evaluate-generator" and _status(task) != "new":  # an evaluation records what it made of its options
            record = read_run(out)
            mine = {name: record.get("options", {}).get(name)}
            require_same_spec(out, record | {"options": mine}, record | {"stage": name, "options": {name: own}})

    origin: dict[str, Any] = {"generator": generator, "source": source, "seed": kwargs["seed"], "machine": machine}
    estimate = stages.estimate(name, dataset, given, **origin, before=settle)
    if as_json:
        show.as_object({"dry_run": True, "run": str(out), "status": _status(task), "options": options, **estimate})
        return
    click.echo(f"{name} would {'do nothing: ' + str(out) + ' is done' if task.finished else 'write ' + str(out)}.")
    for key, value in options.items():
        click.echo(f"  {key.replace('_', '-'):20} {shown(value)}")
    click.echo(f"{_rate(estimate)} steps/s. {_sentence([estimate], estimate['seconds'], 1)}")


def tasks(planned: Sequence[Task], machine: Machine, workers: int | None, *, as_json: bool, first: Sequence[Task] = ()) -> None:
    """What many stages would do together, seed by seed; measured and said by the process that leads, as if alone.

    Args:
        first: those until the first look at the verdict, which may be the last; only what `planned` has too is counted.
    """
    if not place_of().leads:
        return
    machine, cores = settled(machine)
    workers = workers or cores
    measured: dict[str, Estimate] = {}
    rows = [(task, _measure(task, planned, machine, measured)) for task in planned]
    known, seconds = _to_do(rows, workers)
    begun, sooner = _to_do([row for row in rows if row[0] in first], workers)
    if as_json:
        listed = [{"name": t.name, "directory": str(t.directory), "status": _status(t), "estimate": e} for t, e in rows]
        memory = workers * max((e["peak_memory_bytes"] for e in known), default=0)
        totals = {"seconds": seconds, "memory_bytes": memory, "disk_bytes": sum(e["disk_bytes"] for e in known)}
        looked = {"first_look_seconds": sooner} if first else {}
        show.as_object({"dry_run": True, "workers": workers, "tasks": listed, **totals, **looked})
        return
    columns = ("stage", "state", "steps", "steps/s", "parameters", "images", "takes", "disk")
    show.table(columns, [(task.name, _status(task), *_figures(task, e)) for task, e in rows])
    if first:
        click.echo(f"Until the first look: {_sentence(begun, sooner, workers)}")
    click.echo(f"{'Until the last: ' if first else ''}{_sentence(known, seconds, workers)}")


def _to_do(rows: Sequence[tuple[Task, Estimate | None]], workers: int) -> tuple[list[Estimate], float]:
    """The estimates of what is not finished, and the seconds it takes side by side."""
    known = [estimate for task, estimate in rows if estimate is not None and not task.finished]
    return known, max(sum(estimate["seconds"] for estimate in known) / workers, _longest_chain(rows))


def _figures(task: Task, estimate: Estimate | None) -> tuple[str, ...]:
    if estimate is None:
        return ()
    steps, images, takes = str(estimate["steps"]), str(estimate.get("images", "")), duration(estimate["seconds"])
    made = f"{estimate['parameters']:,}"
    return steps, _rate(estimate), made, images, "" if task.finished else takes, size(estimate["disk_bytes"])


def _longest_chain(rows: Sequence[tuple[Task, Estimate | None]]) -> float:
    """Seconds of the stages that must wait for each other, which no number of workers makes shorter."""
    until: dict[str, float] = {}
    for task, estimate in rows:  # each after what it needs
        own = 0.0 if estimate is None or task.finished else float(estimate["seconds"])
        until[task.name] = own + max((until[name] for name in task.needs), default=0.0)
    return max(until.values(), default=0.0)


def _rate(estimate: Estimate) -> str:
    """Steps a second."""
    seconds = estimate["seconds_per_step"]
    return f"{1 / seconds:.3g}" if seconds else ""


def _measure(task: Task, planned: Sequence[Task], machine: Machine, measured: dict[str, Estimate]) -> Estimate | None:
    """The estimate of a task's stage, measured once for tasks that differ only in their seed; None for the report."""
    if task.function not in STAGE_OF:
        return None
    asked = described(task, planned)
    key = json.dumps(asked, default=str, sort_keys=True)
    if key not in measured:
        from ltaug import stages

        name, dataset, given, generator = asked
        seed = task.kwargs.get("draw_seed", task.kwargs["seed"]) or 0
        measured[key] = stages.estimate(name, dataset, given, generator=generator, seed=seed, machine=machine)
    if task.kwargs.get("synthetic") is None:
        return measured[key]
    return measured[key] | {"uncounted": "Reading synthetic images and comparing them with the real ones come on top."}


def _status(task: Task) -> str:
    return "done" if task.finished else "unfinished" if (task.directory / RUN_FILE).exists() else "new"


def _sentence(estimates: Sequence[Estimate], seconds: float, workers: int) -> str:
    if not estimates:
        return "Everything is done; nothing would be computed."
    memory = workers * max(e["peak_memory_bytes"] for e in estimates)
    disk = sum(e["disk_bytes"] for e in estimates)
    side_by_side = f" with {workers} workers" if workers > 1 else ""
    uncounted = "".join(f" {text}" for text in dict.fromkeys(e["uncounted"] for e in estimates if "uncounted" in e))
    return f"About {duration(seconds)}{side_by_side}, {size(memory)} of memory, {size(disk)} on disk.{uncounted}"
