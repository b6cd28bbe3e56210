"""ltaug started several times, by torchrun and by hand: interrupted, killed, restarted, continued by another number."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from launching import by_hand, ended, free_port, start, torchrun, wait_for
from safetensors.torch import load_file

from ltaug import fit_generator
from ltaug.options import Machine
from ltaug.pipeline import plan_classifiers, run_shared

pytestmark = pytest.mark.slow

STEPS, EVERY = 60, 10
DATASET = {"dataset": "digits", "imbalance": 20, "head": 30}
SMALL = ("--dataset", "digits", "--imbalance", "20", "--head", "30", "--device", "cpu")
GENERATOR = {"channels": 8, "batch_size": 9, "steps": STEPS, "checkpoint_every": EVERY}
FIT = ("-m", "ltaug", "fit-generator", *SMALL, "--threads", "1", "--channels", "8", "--batch-size", "9",
       "--steps", str(STEPS), "--checkpoint-every", str(EVERY))  # fmt: skip
ENDLESS = (*FIT, "--steps", "1000000")
INTERRUPTED = "Error: interrupted; the same command continues where it stopped"
GONE = (
    "Error: rank {} of 2 is gone (killed, out of memory, or its own output says why); the same command continues where it stopped"
)


def last_checkpoint(run: Path) -> int:
    return max((int(p.name.removeprefix("step-")) for p in run.glob("checkpoints/step-*")), default=0)


def errors(text: str) -> list[str]:
    """ltaug's own; torchrun reports about its processes as well."""
    return [line for line in text.splitlines() if line.startswith("Error: ")]


def fit_here(out: Path, listener=lambda event: None) -> None:
    fit_generator(DATASET, GENERATOR, out=out, machine=Machine(device="cpu", threads=1), listener=listener)


def test_a_fit_goes_on_with_another_number_of_processes_and_ends_as_that_of_one(tmp_path):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    fit_here(whole)
    pair = by_hand(tmp_path, *FIT, "--out", "shared", "--quiet")
    wait_for(lambda: last_checkpoint(shared) >= EVERY, pair[0])
    pair[1].send_signal(signal.SIGTERM)  # one is told, and both stop
    assert [errors(ended(process, code=130)[1]) for process in pair] == [[INTERRUPTED], []]
    stopped, heard = last_checkpoint(shared), []

    def interrupt(event):
        heard.append(event.text)
        if event.step >= stopped + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_here(shared, interrupt)
    assert f"Continuing from step {stopped} of {STEPS}." in heard
    out, _ = ended(torchrun(tmp_path, *FIT, "--out", "shared", "--json"), code=0)
    assert json.loads(out)["status"] == "finished"
    assert (shared / "samples.png").exists()
    final = f"checkpoints/step-{STEPS}/ema.safetensors"
    expected, found = load_file(whole / final), load_file(shared / final)
    worst = max(float((expected[name] - found[name]).abs().max()) for name in expected)
    assert worst < 0.1 * 2e-3  # a tenth of one step of Adam


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_process_is_killed_the_other_says_so_and_ends_promptly(tmp_path, killed):
    pair = by_hand(tmp_path, *ENDLESS, "--out", "gen", "--quiet")
    wait_for(lambda: last_checkpoint(tmp_path / "gen") >= EVERY, pair[0])
    began = time.monotonic()
    pair[killed].kill()
    _, err = ended(pair[1 - killed], code=8, seconds=30)
    assert time.monotonic() - began < 10
    assert errors(err) == [GONE.format(killed)]
    assert "Traceback" not in err
    ended(pair[killed], code=-signal.SIGKILL)


def test_torchrun_restarts_a_killed_process_and_the_fit_goes_on_from_its_last_checkpoint(tmp_path):
    agent = torchrun(tmp_path, *FIT, "--steps", "300", "--out", "gen", restarts=1)
    wait_for(lambda: last_checkpoint(tmp_path / "gen") >= EVERY, agent)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out, err = ended(agent, code=0)
    assert "gen is done" in out
    assert "gen: Continuing from step " in err
    assert last_checkpoint(tmp_path / "gen") == 300


def test_a_mistake_of_all_is_said_once_and_one_of_another_rank_with_its_rank(tmp_path):
    both = by_hand(tmp_path, *FIT, "--batch-size", "1", "--out", "gen")
    found = [errors(ended(process, code=2)[1]) for process in both]
    assert found == [["Error: --batch-size 1 gives 2 processes nothing to share; start fewer of them"], []]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    one = start(tmp_path, *FIT, "--out", "gen", RANK="0", LOCAL_RANK="0", **shared)
    other = start(tmp_path, *FIT, "--out", "gen", "--seed", "1", RANK="1", LOCAL_RANK="1", **shared)
    (said,) = errors(ended(other, code=5)[1])
    assert said.startswith("Error: rank 1: other options or data than rank 0's (seed: 0 there, 1 here; ")
    assert errors(ended(one, code=5)[1]) == []


STUCK = """
import ctypes, os, signal, sys
from ltaug.distributed.group import Group
from ltaug.distributed.stuck import stop_together
from ltaug.place import Place
with stop_together(Group(Place(0, 2)), patience=0.5):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # so that it does not come back, as in a collective
    print("waiting", flush=True)
    ctypes.CDLL(None).sleep(60)
"""


def test_a_process_stuck_outside_python_ends_some_time_after_a_signal(tmp_path):
    process = start(tmp_path, "-c", STUCK)
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    _, err = ended(process, code=130, seconds=20)
    assert errors(err) == ["Error: stuck after a signal, and ended; the same command continues from the last checkpoint"]


def test_classifiers_shared_by_two_processes_are_byte_for_byte_those_of_one(tmp_path):
    given = {"steps": 5}
    tasks = plan_classifiers(DATASET, given, out=tmp_path / "alone", seeds=3, seed=0, synthetic=None, arm="real")
    run_shared(tasks, out=tmp_path / "alone", what="train-classifier", workers=1, machine=Machine(device="cpu"))
    train = ("-m", "ltaug", "train-classifier", *SMALL, "--steps", "5", "--seeds", "3", "--out", "shared", "--json")
    out, _ = ended(torchrun(tmp_path, *train), code=0)
    assert set(json.loads(out)["arms"]) == {"real"}
    for task in tasks:
        for name in ("weights.safetensors", "metrics.json", "predictions.npz"):
            assert (tmp_path / "shared" / task.name / name).read_bytes() == (task.directory / name).read_bytes()
