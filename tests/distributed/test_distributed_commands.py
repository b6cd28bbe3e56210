"""ltaug started several times, by torchrun and by hand: interrupted, killed, restarted, continued by another number."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from launching import by_hand, ended, free_port, start, torchrun
from safetensors.torch import load_file
from waiting import wait_for

from ltaug import fit_generator
from ltaug.distributed.group import Group, stop_together
from ltaug.machine import Machine
from ltaug.place import Place

pytestmark = pytest.mark.slow

STEPS, EVERY = 100, 20
DATASET = {"dataset": "digits", "imbalance": 20, "head": 30}
SMALL = ("--dataset", "digits", "--imbalance", "20", "--head", "30", "--device", "cpu")
GENERATOR = {"channels": 8, "batch_size": 9, "steps": STEPS, "checkpoint_every": EVERY}
FIT = ("-m", "ltaug", "fit-generator", *SMALL, "--threads", "1", "--channels", "8", "--batch-size", "9",
       "--steps", str(STEPS), "--checkpoint-every", str(EVERY))  # fmt: skip
ENDLESS = (*FIT, "--steps", "1000000")
INTERRUPTED = "Error: interrupted; rerun the command to resume"
LOST = "of 2 was lost (killed, out of memory, or its own output says why); rerun the command to resume"


def last_checkpoint(run: Path) -> int:
    return max((int(p.name.removeprefix("step-")) for p in run.glob("checkpoints/step-*")), default=0)


def errors(text: str) -> list[str]:
    """ltaug's own; torchrun reports about its processes as well."""
    return [line for line in text.splitlines() if line.startswith("Error: ")]


def fit_here(out: Path, listener=lambda event: None) -> None:
    fit_generator(DATASET, GENERATOR, out=out, machine=Machine(device="cpu", threads=1), listener=listener)


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """A fit begun by two processes, continued by one and ended by two of torchrun, of which one is killed; and what was said."""
    where = tmp_path_factory.mktemp("continued")
    run, told = where / "shared", {}
    pair = by_hand(where, *FIT, "--out", "shared", "--quiet")
    wait_for(lambda: last_checkpoint(run) >= EVERY, pair[0])
    pair[1].send_signal(signal.SIGTERM)  # one is told, and both stop
    told["interrupted"] = [errors(ended(process, code=130)[1]) for process in pair]
    told["stopped"], told["alone"] = last_checkpoint(run), []

    def interrupt(event):
        told["alone"].append(event.text)
        if event.step >= told["stopped"] + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_here(run, interrupt)
    agent = torchrun(where, *FIT, "--out", "shared", "--json", restarts=1)
    wait_for(lambda: last_checkpoint(run) >= told["stopped"] + EVERY, agent)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    told["out"], told["err"] = ended(agent, code=0)
    return run, told


def test_one_process_told_to_stop_stops_both_after_a_checkpoint_and_one_says_so(continued):
    _, told = continued
    assert told["interrupted"] == [[INTERRUPTED], []]
    assert f"Continuing from step {told['stopped']} of {STEPS}." in told["alone"]


def test_torchrun_starts_a_killed_process_again_and_the_fit_goes_on_from_its_last_checkpoint(continued):
    run, told = continued
    first, last = map(json.loads, told["out"].splitlines())
    assert (first["exit_code"], last["status"]) == (8, "finished")
    begun = [line for line in told["err"].splitlines() if line.startswith("shared: Continuing from step ")]
    assert len(set(begun)) == 2
    assert (run / "samples.png").exists()


def test_whatever_the_number_of_processes_the_weights_are_those_of_one(continued, tmp_path):
    run, _ = continued
    fit_here(tmp_path / "whole")
    final = f"checkpoints/step-{STEPS}/ema.safetensors"
    expected, found = load_file(tmp_path / "whole" / final), load_file(run / final)
    worst = max(float((expected[name] - found[name]).abs().max()) for name in expected)
    assert worst < 0.1 * 2e-3  # a tenth of one step of Adam


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_process_is_killed_the_other_says_so_and_ends_promptly(tmp_path, killed):
    pair = by_hand(tmp_path, *ENDLESS, "--out", "gen", "--quiet")
    wait_for(lambda: last_checkpoint(tmp_path / "gen") >= EVERY, pair[0])
    pair[killed].kill()
    began = time.monotonic()
    _, err = ended(pair[1 - killed], code=8)
    assert time.monotonic() - began < 60
    assert errors(err) == [("Error: rank 1", "Error: rank 1: rank 0")[killed == 0] + " " + LOST]
    assert "Traceback" not in err
    ended(pair[killed], code=-signal.SIGKILL)


def test_a_mistake_of_another_process_is_said_with_its_rank_and_ends_all(tmp_path):
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    one = start(tmp_path, *FIT, "--out", "gen", RANK="0", LOCAL_RANK="0", **shared)
    other = start(tmp_path, *FIT, "--out", "gen", "--seed", "1", RANK="1", LOCAL_RANK="1", **shared)
    (said,) = errors(ended(other, code=5)[1])
    assert said.startswith("Error: rank 1: other options or data than rank 0's (seed: 0 there, 1 here; ")
    assert errors(ended(one, code=5)[1]) == []


STUCK = """
import ctypes, os, signal, threading
from ltaug.distributed.group import Group, stop_together
from ltaug.place import Place
with stop_together(Group(Place(0, 2)), echo=0.1, patience=0.4):
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # a thread hears it; this one is not woken up, as in a collective
    ctypes.CDLL(None).sleep(600)
"""


def test_a_process_stuck_outside_python_ends_some_time_after_a_signal(tmp_path):
    _, err = ended(start(tmp_path, "-c", STUCK), code=130)
    assert errors(err) == ["Error: stuck after a signal and stopped; rerun the command to resume from the last checkpoint"]


@pytest.mark.parametrize("echo", [60.0, 0.0])
def test_a_ctrl_c_that_comes_twice_at_once_is_one_signal_to_a_process_of_a_group(echo):
    kept_on = False
    with suppress(KeyboardInterrupt), stop_together(Group(Place(0, 2)), echo=echo) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        kept_on = stop.requested
    assert kept_on == (echo > 0)
