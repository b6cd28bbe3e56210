"""Stand-ins for ltaug.stages that do nothing but take time, fail or die; workers import them by name."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from waiting import wait_for

from ltaug.errors import BudgetError
from ltaug.runs import Event, open_run

TRAINING = 0.1  # processor seconds of train_classifier


def _log(out: Path, what: str) -> None:
    with (out.parent / "log.jsonl").open("a") as file:
        file.write(json.dumps({"name": out.name, "what": what, "at": time.time(), "pid": os.getpid()}) + "\n")


def nap(*, out: Path, seconds: float, machine, listener) -> str:
    _log(out, "start")
    listener(Event(out.name, "napping", 0, 10))
    time.sleep(seconds)
    listener(Event(out.name, "napping", 10, 10))
    _log(out, "end")
    return out.name


def meet(*, out: Path, other: Path, machine, listener) -> int:
    """Returns once the other one has begun, which needs a second worker."""
    out.touch()
    wait_for(other.exists)
    return os.getpid()


def threads(*, out: Path, machine, listener) -> tuple[int | None, str | None]:
    return machine.threads, os.environ.get("OMP_NUM_THREADS")


def record(*, out: Path, machine, listener) -> None:
    """Leaves a finished run."""
    out.mkdir(exist_ok=True)
    (out / "run.json").write_text('{"status": "finished"}')


def surroundings(*, out: Path, together: int, machine, listener) -> dict[str, str]:
    """This worker's environment, once so many are at it at the same time."""
    out.touch()
    wait_for(lambda: len(list(out.parent.glob("here-*"))) >= together)
    return dict(os.environ)


def mistake(*, out: Path, machine, listener) -> None:
    _log(out, "start")
    raise BudgetError("--per-class-budget 'x' is wrong; try fill:max")


def mistake_later(*, out: Path, other: Path, machine, listener) -> None:
    """The mistake, once another one has begun."""
    wait_for(other.exists)
    raise BudgetError("--per-class-budget 'x' is wrong; try fill:max")


def device(*, out: Path, machine, listener) -> str:
    return machine.device


def until(*, out: Path, other: Path, machine, listener) -> str:
    """Returns at its second call, once `other` is there; the first one never ends by itself, but saves its state if told to."""
    _log(out, "start")
    first = not out.exists()
    out.touch()
    listener(Event(out.name, "waiting", 0, 10))
    try:
        while first:
            time.sleep(1.0)
    except KeyboardInterrupt:
        _log(out, "saved")
        raise
    wait_for(other.exists)
    _log(out, "end")
    return out.name


def killed_once(*, out: Path, machine, listener) -> str:
    if not out.exists():
        out.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return out.name


def full(*, out: Path, machine, listener) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def short_of_memory(*, out: Path, machine, listener) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400 bytes")


def bug(*, out: Path, machine, listener) -> None:
    raise ZeroDivisionError("a bug")


def killed(*, out: Path, machine, listener) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def patient(*, out: Path, machine, listener) -> None:
    """Works until it is told to stop, saves its state and says so, as the real stages do."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    _log(out, "start")
    while not asked:
        listener(Event(out.name, "working", 1, 10))
        time.sleep(0.01)
    time.sleep(0.3)
    _log(out, "saved" if len(asked) == 1 else "asked twice")
    raise KeyboardInterrupt


def check_stages(*, asked, seed: int, machine, listener) -> None:
    listener(Event("check", "reading images", 1, 2))
    listener(Event("check", "reading images", 2, 2))


def train_classifier(*, out: Path, seed: int, machine, listener, **asked) -> Path:
    """Leaves a finished run; one that was not there takes a moment and a line in the log."""
    with open_run(out, stage="train-classifier", label=out.name, seed=seed, options={}, inputs={}, versions={}, device={}) as run:
        if not run.finished:
            _log(out.parents[1], "trained")
            while time.process_time() - run.counted < TRAINING:
                pass
            run.finish([])
    return out


@dataclass(frozen=True)
class FakeVerdict:
    headline: str
    decided: bool
    seeds_needed: int | None


@dataclass(frozen=True)
class FakeReport:
    seeds: int
    verdict: FakeVerdict


def write_report(*, runs, out: Path, baseline, title: str, machine, listener) -> FakeReport:
    """The verdict that the title, which is the recipe's text, has for this many seeds: [decided, seeds needed]."""
    assert all((run / "run.json").exists() for run in runs)
    seeds = len({run.parents[1] for run in runs})
    return FakeReport(seeds, FakeVerdict(f"{seeds} seeds say this.", *json.loads(title)[str(seeds)]))


def make_part(*, out: Path, keys, size: int, machine, listener) -> list:
    """Says who made it; a candidate of class 8 is a mistake, one of class 9 kills its worker."""
    listener(Event(out.name, "synthesizing", 1, 10))
    listener(Event(out.name, f"A part of {len(keys)}, at most {size}."))
    if keys[0][0] == 8:
        raise BudgetError("--per-class-budget 'x' is wrong; try fill:max")
    if keys[0][0] == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return [(key, os.getpid()) for key in keys]
