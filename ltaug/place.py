"""Which of several processes that run one command together this one is, as torchrun (or another launcher) says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ltaug.errors import OptionError

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Place:
    """A process among those that share the work of one command.

    Attributes:
        rank: 0 to world - 1.
        world: how many processes there are.
        local_rank: 0, 1, ... among those of this machine; which of its devices is this process's.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process does what is done once: it opens run directories, finishes them and prints."""
        return self.rank == 0

    def share(self, things: Sequence[Thing]) -> Sequence[Thing]:
        """Every world-th of them, from the rank-th on; the shares of all processes are all of them."""
        return things[self.rank :: self.world]


ALONE = Place()


def place_of(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that RANK, WORLD_SIZE and LOCAL_RANK give; ALONE without them.

    Raises:
        OptionError: they are no numbers, or no place.
    """
    given = {name: environment.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))}
    given["LOCAL_RANK"] = environment.get("LOCAL_RANK", "0")
    if not all(value.isdecimal() for value in given.values()) or int(given["RANK"]) >= int(given["WORLD_SIZE"]):
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise OptionError(f"{said} in the environment is no place among processes; a rank is from 0 to WORLD_SIZE - 1")
    return Place(int(given["RANK"]), int(given["WORLD_SIZE"]), int(given["LOCAL_RANK"]))
