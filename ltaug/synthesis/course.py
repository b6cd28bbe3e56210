"""How a synthesis is divided: how many processes share each round, and how many candidates a round has.

Rank 0 decides this when it starts, from the rounds that are complete, and records it in run.json. The others read it there,
so all processes agree, whatever files are left over.
"""

from __future__ import annotations

import dataclasses
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
    """The stretches of a run; each ends where the next begins, and the last one is under way."""

    stretches: tuple[Stretch, ...]

    def stretch(self, number: int) -> Stretch:
        """The stretch that a round belongs to."""
        return next(s for s in reversed(self.stretches) if s.first <= number)

    def parts(self, number: int) -> list[Part]:
        """The parts of a round, by rank."""
        stretch = self.stretch(number)
        return [Part(number, rank, stretch.world, stretch.size) for rank in range(stretch.world)]

    def under_way(self, number: int) -> bool:
        """Whether a round is still to be made; those of earlier stretches are complete."""
        return number >= self.stretches[-1].first


def settle(run: Run, rounds: Rounds, store: Store, *, batch: int) -> Course:
    """Rank 0: continue the last stretch or, if the number of processes changed, start one at the first incomplete round.

    Args:
        batch: images that a process generates at a time; in a new stretch, each process makes one batch a round.

    Raises:
        RunExistsError: a process of the last stretch is still at work.
    """
    world = run.place.world
    before = recorded_course(run.record).stretches
    if before and before[-1].world == world:
        return Course(before)
    first = 0
    if before:
        require_ended(run.path, before[-1].world)
        course = Course(before)
        first = before[-1].first
        while rounds.complete(course.parts(first)):
            first += 1
        _drop(course, first, rounds, store)
    stretches = (*(s for s in before if s.first < first), Stretch(first, world, world * batch))
    run.note(**{FACT: [dataclasses.asdict(s) for s in stretches]})
    run.save()
    return Course(stretches)


def join(run: Run) -> Course | None:
    """The other ranks: wait until rank 0 has decided for this number of processes; None if the run finishes instead."""

    def missing() -> str | None:
        record = read_run(run.path)
        stretches = recorded_course(record).stretches
        if record["status"] == "finished" or (stretches and stretches[-1].world == run.place.world):
            return None
        return f"Waiting for rank 0 to share {run.path} among {run.place.world} processes."

    wait_until(missing, run.event)
    record = read_run(run.path)
    return None if record["status"] == "finished" else recorded_course(record)


def recorded_course(record: dict[str, Any]) -> Course:
    """The course in a run's record, without a stretch before rank 0 has settled one."""
    return Course(tuple(Stretch(**s) for s in record["facts"].get(FACT, ())))


def _drop(course: Course, first: int, rounds: Rounds, store: Store) -> None:
    """Remove what was begun from this round on: marks first, then the shards that they name, rows last."""
    begun = [number for number in rounds.numbers() if number >= first]
    for number in begun:
        for part in course.parts(number):
            rounds.unmark(part)
            store.drop(part)
    rounds.clear(begun)
