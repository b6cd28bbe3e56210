"""This process's place among the processes that run one command together, as set by torchrun or another launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ltaug.errors import OptionError

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Process `rank` of the `world` that share the work of one command; `local_rank` of those on its machine, and its device."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process does what only one may do: open and finish run directories, and print."""
        return self.rank == 0

    def device_of(self, count: int) -> int:
        """Which of the machine's `count` CUDA devices this process uses.

        Raises:
            OptionError: the machine has more processes than devices.
        """
        if self.local_rank >= count:
            raise OptionError(
                f"process {self.local_rank + 1} on this machine has no CUDA device, because there are only {count}; "
                f"use torchrun --nproc-per-node {count}, or --device cpu"
            )
        return self.local_rank


ALONE = Place()


def place_of(environment: Mapping[str, str] = os.environ) -> Place:
    """The place given by RANK, WORLD_SIZE and LOCAL_RANK; ALONE without them.

    Raises:
        OptionError: they are not numbers, or RANK is not below WORLD_SIZE.
    """
    given = {name: environment.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))}
    if not all(value.isdecimal() for value in given.values()) or int(given["RANK"]) >= int(given["WORLD_SIZE"]):
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise OptionError(f"environment variables {said} are not valid; RANK must be a number from 0 to WORLD_SIZE - 1")
    return Place(int(given["RANK"]), int(given["WORLD_SIZE"]), int(given["LOCAL_RANK"]))


def says_a_place(name: str) -> bool:
    """Whether a launcher sets this environment variable for its own processes, so that they must not pass it on."""
    return name in LAUNCHERS or name.startswith("TORCHELASTIC_")
