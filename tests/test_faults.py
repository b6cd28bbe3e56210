"""A sample of what `python benchmarks/faults.py writes` does in full: a fault before a write, and the same command again."""

from __future__ import annotations

import sys

import pytest
from faulting import COMMANDS, FAULTS, Rig, writing_commands

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    return Rig(tmp_path_factory.mktemp("faults"))


def test_every_command_that_writes_is_disturbed():
    assert {command.split()[0] for command in COMMANDS.values()} == writing_commands()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_with_what_it_makes_undisturbed_whatever_came_before_one_of_its_writes(rig, command):
    turn = list(COMMANDS).index(command)
    faults = [FAULTS[(turn + n) % len(FAULTS)] for n in range(1 if command in ("run", "grow") else 2)]
    trials = list(rig.trials(command, faults, sample=1, seed=turn))
    assert [trial.fault for trial in trials] == faults
    assert [trial for trial in trials if trial.failed] == []
