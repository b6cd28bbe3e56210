"""How a synthesis is shared out: from which round on how many processes work on it, and how many candidates a round has.

Rank 0 settles it when it starts, in run.json, from the rounds that are complete; the others read it there, so that all are
of one mind whatever files lie about.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ltaug.meeting import require_ended, wait_until
from ltaug.runs import Run, read_run
from ltaug.synthesis.rounds import Part, Rounds
from ltaug.synthesis.stores import Store

FACT = "rounds"


@dataclass(frozen=True)
class Stretch:
    """From round `first` on, `world` processes share rounds of `size` candidates."""

    first: int
    world: int
    size: int


@dataclass(frozen=True)
class Course:
    """The stretches of a run, each as far as the next; the last one is under way."""

    stretches: tuple[Stretch, ...]

    def stretch(self, number: int) -> Stretch:
        """The one that a round belongs to."""
        return next(s for s in reversed(self.stretches) if s.first <= number)

    def parts(self, number: int) -> list[Part]:
        """The parts of a round, by rank."""
        stretch = self.stretch(number)
        return [Part(number, rank, stretch.world, stretch.size) for rank in range(stretch.world)]

    def under_way(self, number: int) -> bool:
        """Whether a round is this session's to make; earlier ones stand complete."""
        return number >= self.stretches[-1].first


def settle(run: Run, rounds: Rounds, store: Store, *, batch: int) -> Course:
    """Rank 0: go on as before, or, where the number of processes is another, from the first incomplete round on anew.

    Args:
        batch: images that a process generates at a time; a new stretch has rounds of one batch each.

    Raises:
        RunExistsError: one of the processes that shared the run before is still at work.
    """
    world = run.place.world
    before = _recorded(run.record)
    if before and before[-1].world == world:
        return Course(before)
    first = 0
    if before:
        require_ended(run.path, before[-1].world)
        first = _first_incomplete(Course(before), rounds)
        _drop(Course(before), first, rounds, store)
    stretches = (*(s for s in before if s.first < first), Stretch(first, world, world * batch))
    run.note(**{FACT: [dataclasses.asdict(s) for s in stretches]})
    run.save()
    return Course(stretches)


def join(run: Run) -> Course | None:
    """The others: what rank 0 settled for as many processes as these; None where the run is finished meanwhile."""

    def missing() -> str | None:
        record = read_run(run.path)
        stretches = _recorded(record)
        if record["status"] == "finished" or (stretches and stretches[-1].world == run.place.world):
            return None
        return f"Waiting for rank 0 to share {run.path} among {run.place.world} processes."

    wait_until(missing, run.event)
    record = read_run(run.path)
    return None if record["status"] == "finished" else Course(_recorded(record))


def _recorded(record: dict[str, Any]) -> tuple[Stretch, ...]:
    return tuple(Stretch(**s) for s in record["facts"].get(FACT, ()))


def _first_incomplete(course: Course, rounds: Rounds) -> int:
    number = course.stretches[-1].first
    while rounds.complete(course.parts(number)):
        number += 1
    return number


def _drop(course: Course, first: int, rounds: Rounds, store: Store) -> None:
    """Remove what was begun from this round on, shards before the rows that tell of them."""
    for number in rounds.numbers():
        parts: Sequence[Part] = course.parts(number) if number >= first else ()
        for part in parts:
            store.drop(part)
    rounds.clear(first)
