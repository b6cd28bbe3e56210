"""Which of several processes that run one command together this one is, as torchrun (or another launcher) says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ltaug.errors import OptionError

Thing = TypeVar("Thing")
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT")


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

    def device_of(self, count: int) -> int:
        """Which of this machine's `count` CUDA devices is this process's.

        Raises:
            OptionError: there are more processes here than devices.
        """
        if self.local_rank >= count:
            raise OptionError(
                f"process {self.local_rank + 1} of this machine has no CUDA device, as there are {count}; "
                f"use torchrun --nproc-per-node {count}, or --device cpu"
            )
        return self.local_rank

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


def says_a_place(name: str) -> bool:
    """Whether an environment variable is a launcher's word to the processes it starts, which those must not pass on to theirs."""
    return name in LAUNCHERS or name.startswith("TORCHELASTIC_")
