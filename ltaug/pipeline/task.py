"""A stage call that waits for others, and how urgent it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.fields import settings_of
from ltaug.files import read_json
from ltaug.methods import REGULARISERS, terms_of
from ltaug.options import GeneratorOptions
from ltaug.runs import RUN_FILE


@dataclass(frozen=True)
class Task:
    """One call of a stage function.

    Attributes:
        name: the run directory relative to the whole output, which is also its label in progress.
        function: the function's name in ltaug.stages.
        kwargs: its arguments, except machine and listener, which every stage gets.
        needs: names of the tasks whose results it reads.
        directory: where its run goes.
    """

    name: str
    function: str
    kwargs: Mapping[str, Any]
    needs: tuple[str, ...]
    directory: Path

    @property
    def finished(self) -> bool:
        """Whether its run directory says so; whether it is still the same run is the stage's to check.

        Raises:
            CorruptError: run.json is damaged.
        """
        path = self.directory / RUN_FILE
        if not path.exists():
            return False
        record = read_json(path)
        return isinstance(record, dict) and record.get("status") == "finished"


def urgency(tasks: Sequence[Task]) -> dict[str, float]:
    """How much work still hangs on each task, itself included: the longest chain from it to the end.

    Starting the most urgent first lets the long chains (generators) begin early and the short ones fill the gaps.
    Units are roughly training steps of a generator; only the order matters.
    """
    after: dict[str, float] = {}
    for task in reversed(tasks):
        own = 0.0 if task.finished else _cost(task)
        after[task.name] = own + max((after[t.name] for t in tasks if task.name in t.needs), default=0.0)
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
