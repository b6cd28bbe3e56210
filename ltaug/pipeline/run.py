"""Runs stage calls side by side, each as soon as its inputs are ready, the longest chains first."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from queue import SimpleQueue
from typing import Any

from ltaug.fields import settings_of
from ltaug.machine import Machine
from ltaug.methods import REGULARISERS, terms_of
from ltaug.options import GeneratorOptions
from ltaug.pipeline.child import Answer
from ltaug.pipeline.dask import Dask
from ltaug.pipeline.local import Local
from ltaug.pipeline.plan import Task
from ltaug.runs import Event, Listener, ignore_events

Engine = Local | Dask
STAGES_MODULE = "ltaug.stages"
DONE = "done"


def run_tasks(
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
    module: str = STAGES_MODULE,
    engine: str | None = None,
) -> dict[str, Any]:
    """Make every task's call and return the results by task name.

    Finished tasks are called too, and first: a stage that is done only checks that it is still the same run, so that
    a changed input is refused before anything is computed. On the CPU every worker computes with one thread
    unless `machine` says otherwise, so results do not depend on how many workers there are.

    Args:
        workers: processes at a time; None: one per core, or per CUDA device. Worker i computes on device i, modulo their
            number, so that several may share one.
        module: where the stage functions are (another one in tests).
        engine: "dask:ADDRESS": on the workers of a Dask cluster, see `dask.Dask`; None: on this machine.

    Raises:
        LtaugError: a stage's own error, after the others were stopped; they resume when called again.
        WorkerError: a worker process died.
        OptionError: see `dask.Dask`.
    """
    urgent = urgency(tasks)
    finished = {t.name for t in tasks if t.finished}
    order = sorted(tasks, key=lambda t: (t.name not in finished, -urgent[t.name]))
    turn = {task.name: number for number, task in enumerate(order)}
    sorter = TopologicalSorter({t.name: t.needs for t in tasks})
    sorter.prepare()
    heard: SimpleQueue[Event | Future[Answer]] = SimpleQueue()
    taking = open_engine(engine, machine or Machine(), workers=workers, module=module, tell=heard.put)
    ready: list[int] = []  # a heap of turns
    at_work: dict[Future[Answer], str] = {}
    results: dict[str, bytes] = {}
    with closing(taking):
        while sorter.is_active():
            for name in sorter.get_ready():
                heappush(ready, turn[name])
            while ready and len(at_work) < taking.slots:
                number = heappop(ready)
                answer = taking.submit(order[number], -number)
                at_work[answer] = order[number].name
                answer.add_done_callback(heard.put)
            message = heard.get()
            if isinstance(message, Event):
                if message.run not in finished:
                    listener(message)
                continue
            name, result = at_work.pop(message), message.result()
            if isinstance(result, Exception):
                raise result
            results[name] = result
            sorter.done(name)
            listener(Event(name, DONE, 1, 1))
            listener(Event("", "stages", len(results), len(tasks)))
    # Only now: unpickling may import libraries, and while workers run they need the memory.
    return {name: pickle.loads(result) for name, result in results.items()}


def open_engine(engine: str | None, machine: Machine, *, workers: int | None, module: str, tell: Listener) -> Engine:
    """The engine that makes calls: this machine's, or a Dask cluster's; for the arguments and errors see `run_tasks`."""
    if engine is None:
        return Local(machine, workers=workers, module=module, tell=tell)
    return Dask(engine, machine, module=module, tell=tell)


def urgency(tasks: Sequence[Task]) -> dict[str, float]:
    """How much work still hangs on each task, itself included: the longest chain from it to the end.

    Starting the most urgent first lets the long chains (generators) begin early and the short ones fill the gaps.
    Units are roughly training steps of a generator; only the order matters.
    """
    after = {task.name: 0.0 for task in tasks}
    for task in reversed(tasks):
        after[task.name] += 0.0 if task.finished else _cost(task)
        for need in task.needs:
            after[need] = max(after[need], after[task.name])
    return after


def _cost(task: Task) -> float:
    given = task.kwargs.get("given", {})
    if task.function == "fit_generator":
        return float(given.get("steps", 1000)) * _passes(given)
    if task.function == "synthesize":
        return 300.0 if task.kwargs.get("judges") else 100.0
    if task.function == "evaluate_generator":
        return 150.0
    return 50.0


def _passes(given: Mapping[str, Any]) -> float:
    """Images through the network for one of the batch: one, and what the regularisers need beyond it."""
    options = GeneratorOptions(**given)
    terms = [term for term in terms_of(options.objective) if term in REGULARISERS]
    return 1 + sum(REGULARISERS.about(term).passes(**settings_of(options, "objective", term)) for term in terms)
