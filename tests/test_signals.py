"""Every signal that stops a process: what commands save, say and leave, and that the same command goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from waiting import LONG, wait_for

from ltaug.cli import commands
from ltaug.errors import INTERRUPTED
from ltaug.signals import STOPPING, interrupted_by_signals, stop_on_signal

SAID = {"error": "interrupted; rerun the command to resume", "exit_code": INTERRUPTED}
RECIPE = """
dataset = "digits"
imbalance = 20
head = 30
seeds = 1
[fit-generator]
steps = 5000
channels = 8
batch-size = 8
objective = "ddpm"
[train-classifier]
steps = 5000
batch-size = 8
model = "resnet8"
augment = "none"
[arms.real]
[arms.cbdm.synthesize]
"""


HEARD = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]  # under nohup all but SIGHUP


@pytest.mark.parametrize("number", HEARD)
def test_every_command_ends_as_after_ctrl_c_and_says_so_in_json(called, number):
    before = {each: signal.getsignal(each) for each in STOPPING}

    def told():
        os.kill(os.getpid(), number)
        time.sleep(LONG)

    assert set(called.commands) == set(commands.group.commands) - {"schema"}  # which only prints
    for command in called.commands:
        code, out, err = called(command, told)
        assert (code, out) == (INTERRUPTED, SAID), command
        assert err.lstrip("\n") == f"Error: {SAID['error']}\n"
    assert {each: signal.getsignal(each) for each in STOPPING} == before


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(called):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:

        def told():
            with stop_on_signal() as stop:
                os.kill(os.getpid(), signal.SIGHUP)
            return {"stopped": stop.requested}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ltaug.cli.show.dataset", lambda found, *, as_json: print(json.dumps(found)))
            assert called("inspect", told)[:2] == (0, {"stopped": False})
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [number for number in HEARD if number != signal.SIGINT])
def test_a_signal_that_is_repeated_at_once_is_one_signal_and_a_second_ctrl_c_is_not(number):
    with stop_on_signal() as stop:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_signals_are_left_alone():
    found = []

    def beside():
        with interrupted_by_signals(), stop_on_signal() as stop:
            found.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert found == [(False, signal.SIG_DFL)]


STUBBORN = """
import sys, time
from pathlib import Path
from ltaug.signals import interrupted_by_signals
with interrupted_by_signals():
    for name in ("begun", "told", "told-again"):
        try:  # the signal may come before touch has returned
            Path(name).touch()
            time.sleep(600)
        except KeyboardInterrupt:
            pass
    Path("told-thrice").touch()
"""


def started(where: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; nothing that it started is left behind, whatever becomes of the test."""
    try:
        out, err = process.communicate(timeout=LONG)
        return process.returncode, out, err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_second_ctrl_c_ends_a_process_that_does_not_end_by_itself(tmp_path):
    process = started(tmp_path, "-c", STUBBORN)
    for reached in ("begun", "told"):
        wait_for((tmp_path / reached).exists, process)
        process.send_signal(signal.SIGINT)
    assert ended(process)[0] == INTERRUPTED
    assert not (tmp_path / "told-thrice").exists()


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_lets_generator_and_classifier_save_and_goes_on(tmp_path):
    (tmp_path / "endless.toml").write_text(RECIPE)
    arguments = ("-m", "ltaug", "run", "endless.toml", "--device", "cpu", "--workers", "2", "--out", "runs", "--json")
    fits = [tmp_path / "runs/seed-0" / name for name in ("cbdm/generator", "real/classifier")]
    for tell in (os.kill, os.killpg):  # the parent, and all of its processes
        before = [newest(fit) for fit in fits]
        process = started(tmp_path, *arguments)
        wait_for(lambda told=before: all(logged(fit) > steps for fit, steps in zip(fits, told, strict=True)), process)
        tell(process.pid, signal.SIGTERM)
        code, out, err = ended(process)
        assert (code, json.loads(out)) == (INTERRUPTED, SAID), err
        assert "Traceback" not in err
        assert all(newest(fit) > steps for fit, steps in zip(fits, before, strict=True))


def newest(fit: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in fit.glob("checkpoints/step-*")), default=0)


def logged(fit: Path) -> int:
    """The last step in metrics.jsonl."""
    file = fit / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return max((json.loads(line).get("step", 0) for line in lines), default=0)
