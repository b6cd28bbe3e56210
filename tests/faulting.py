"""A fault before every write of every command, and the same command again, which has to end with what it makes undisturbed.

A write is whatever Python's audit events tell of below one directory (a file opened for writing, a name made, changed or
removed) and fsync, so that a new artefact is covered without a new test. Commands run in forks of a process that has loaded all.
"""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

from forking import forking

from ltaug.checkpoints import checkpoint_steps
from ltaug.cli.commands import group
from ltaug.errors import INTERRUPTED, ResourceError, WorkerError
from ltaug.files import SEAL, VERIFIED
from ltaug.records import REPORT_FILE
from ltaug.runs import RUN_FILE

GENERATOR = (
    "--objective ddpm --steps 4 --channels 8 --batch-size 8 --checkpoint-every 2 --dataset digits --imbalance 20 --head 30"
)
CLASSIFIER = "--steps 4 --batch-size 8 --model resnet8"
RECIPE = """
dataset = "digits"
imbalance = 20
head = 30
seeds = 1
[fit-generator]
objective = "ddpm"
steps = 4
channels = 8
batch-size = 8
checkpoint-every = 2
[synthesize]
per-class-budget = "fill:5"
sample-steps = 2
[train-classifier]
steps = 4
batch-size = 8
model = "resnet8"
[evaluate-generator]
samples = 20
extractor = "pixels"
[arms.real]
[arms.ddpm.synthesize]
"""
BASE = {  # what the commands below read, made once and undisturbed
    "gen": f"fit-generator {GENERATOR}",
    "syn": "synthesize base/gen --per-class-budget fill:5 --sample-steps 2",
    "clf": f"train-classifier --synthetic base/syn {CLASSIFIER}",
    "eval": "evaluate-generator base/gen --samples 20 --sample-steps 2 --extractor pixels",
}
COMMANDS = {
    "fit-generator": f"fit-generator {GENERATOR}",
    "fit-generator, folder": f"fit-generator {GENERATOR.partition(' --dataset')[0]} --dataset folder:base/set --image-size 8",
    "fit-generator --from": "fit-generator --from base/gen --steps 4 --batch-size 8 --checkpoint-every 2",
    "synthesize": BASE["syn"],
    "synthesize, shards": BASE["syn"] + " --images-to shards --judge base/clf/real/seed-0 --select-confidence 0,1",
    "evaluate-generator": BASE["eval"],
    "train-classifier": BASE["clf"],
    "report": "report base/clf base/eval",
    "figure": "figure grid base/gen --strengths 0 --sample-steps 2",
    "export": "export base/syn --to imagefolder --with-real",
    "run": "run mini.toml",
    "grow": f"grow base/gen --sample-steps 2 --max-rounds 2 --per-round 20 --folds 2 --repeats 3 --seeds 1 {CLASSIFIER}",
}
FAULTS = ("kill", "power cut", "disk full", "input/output error", "SIGTERM")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NAMES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
# Locks, stamps, and what shows the times in report.json beside all else that stands there.
UNEQUAL = (".lock", VERIFIED, "report.html", "report.md")
TIMES = {  # keys at any depth, and the digests of what shows times; the verdict's words name some as well
    RUN_FILE: ("timings", "spent", SEAL),
    REPORT_FILE: ("costs", "seed_cost", "worth", "processor", "files", SEAL),
}
PATIENCE = 300.0  # seconds for one command, on a busy machine


class Trial(NamedTuple):
    """A fault before one write of a command, and why its promise was not kept; "" where it was."""

    command: str
    fault: str
    point: int
    place: str
    failed: str


class Ended(NamedTuple):
    """How a command ended: its exit code (minus the signal), the two streams, and the writes that it came to."""

    code: int
    out: str
    err: str
    points: list[str]


def writing_commands() -> set[str]:
    """The commands that write a directory, which COMMANDS has to hold; `plan` only names one."""
    return {name for name, command in group.commands.items() if _writes(command)} - {"plan"}


def _writes(command: Any) -> bool:
    inner = getattr(command, "commands", {}).values()
    return any(param.name == "out" for param in command.params) or any(map(_writes, inner))


class Rig:
    """A directory in which commands are disturbed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._context = forking()
        self._make_base()

    def _make_base(self) -> None:
        import numpy as np
        from PIL import Image

        for n in range(12):
            (self.root / f"base/set/{n % 3}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 20 * n, np.uint8)).save(self.root / f"base/set/{n % 3}/{n}.png")
        (self.root / "mini.toml").write_text(RECIPE)
        for name, command in BASE.items():
            assert self.call(f"{command} --out base/{name}").code == 0

    def call(self, command: str, fault: str = "", point: int = 0) -> Ended:
        """Run a command line, disturbed before its n-th write (from 1 on) if a fault is named."""
        logs = self.root.parent / f"{self.root.name}-logs"
        logs.mkdir(exist_ok=True)
        process = self._context.Process(target=_disturbed, args=(self.root, logs, command.split(), fault, point))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        if fault in ("kill", "power cut"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        out, err, points = ((logs / name).read_text() for name in ("out", "err", "points"))
        return Ended(process.exitcode, out, err, points.splitlines())

    def trials(self, name: str, faults: Sequence[str] = FAULTS, *, sample: int | None = None, seed: int = 0) -> Iterator[Trial]:
        """Disturb a command before each of its writes, or before `sample` random ones, by each of the faults."""
        command = f"{COMMANDS[name]} --out out --json"
        before = self._base()
        (first, count), (second, _) = (self._undisturbed(command) for _ in range(2))
        for fault in faults:
            points = range(1, count + 1)
            if sample is not None:
                points = sorted(Random(f"{seed}{name}{fault}").sample(points, min(sample, count)))
            for point in points:
                self._clear()
                began = time.monotonic()
                ended = self.call(command, fault, point)
                failed = _ended_badly(ended, fault, time.monotonic() - began)
                if not failed and (again := self.call(command)).code:
                    failed = f"again: exit code {again.code}: {again.err[-300:]}"
                failed = failed or _differs(first, second, self._tree("out", "cache")) or _differs(before, before, self._base())
                yield Trial(name, fault, point, ended.points[-1] if ended.points else "", failed)

    def _clear(self) -> None:
        for name in ("out", "cache"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def _undisturbed(self, command: str) -> tuple[dict[str, Any], int]:
        """What a command makes, and the number of its writes."""
        self._clear()
        ended = self.call(command)
        assert ended.code == 0, ended.err
        return self._tree("out", "cache"), len(ended.points)

    def _base(self) -> dict[str, Any]:
        return self._tree("base")

    def _tree(self, *names: str) -> dict[str, Any]:
        """What is in every file: of JSON its value, otherwise its bytes; locks and stamps, which tell nothing, left out."""
        files = (file for name in names for file in sorted((self.root / name).rglob("*")) if file.is_file() and _tells(file))
        return {str(file.relative_to(self.root)): _content(file) for file in files}


def _tells(file: Path) -> bool:
    """Whether this has to be as in an undisturbed run, unlike UNEQUAL and checkpoints before the last."""
    if file.parent.parent.name == "checkpoints":
        return file.parent.name == f"step-{checkpoint_steps(file.parent.parent)[-1]}"
    return file.name not in UNEQUAL and "locks" not in file.parts


def _content(file: Path) -> Any:
    if file.suffix != ".json":
        return file.read_bytes()
    times = TIMES.get(file.name, ())
    space = rb"(?: |\\u00a0)"  # or JOINED of report/wording.py, as JSON writes it
    text = re.sub(rb"about [\d.,]+" + space + b"processor" + space + rb"\w+", b"", file.read_bytes())
    return json.loads(text, object_hook=lambda found: {key: value for key, value in found.items() if key not in times})


def _ended_badly(ended: Ended, fault: str, seconds: float) -> str:
    """Why the end of a disturbed command is not what was promised."""
    if "Traceback" in ended.err:
        return f"traceback: {ended.err[-600:]}"
    promised = {
        "kill": (-signal.SIGKILL, WorkerError.exit_code),
        "power cut": (-signal.SIGKILL,),
        "SIGTERM": (INTERRUPTED,),
    }.get(fault, (ResourceError.exit_code,))
    if ended.code not in (*promised, 0):
        return f"exit code {ended.code}: {ended.err[-300:]}"
    if ended.code > 0 and json.loads(ended.out)["exit_code"] != ended.code:
        return f"stdout is {ended.out[:300]}"
    return f"took {seconds:.0f} s" if fault == "SIGTERM" and seconds > PATIENCE / 5 else ""


def _differs(first: Mapping[str, Any], second: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is not as in two undisturbed runs, where those agree (they do not in times, nor in what is made of these)."""
    if first.keys() != now.keys():
        return f"files: {sorted(first.keys() ^ now.keys())[:5]}"
    return next((f"{name} differs: {found}" for name in first if (found := _unlike(first[name], second[name], now[name]))), "")


def _unlike(first: Any, second: Any, now: Any) -> str:
    if first == second == now:
        return ""
    if isinstance(first, dict) and isinstance(second, dict) and isinstance(now, dict):
        if first.keys() == second.keys() != now.keys():
            return f"keys {sorted(first.keys() ^ now.keys())}"
        inner = ((key, _unlike(first[key], second[key], now[key])) for key in first if key in second and key in now)
        return next((f"{key}: {found}" for key, found in inner if found), "")
    if isinstance(first, list) and isinstance(second, list) and isinstance(now, list) and len(first) == len(second) == len(now):
        return next((found for each in zip(first, second, now, strict=True) if (found := _unlike(*each))), "")
    return f"{str(now)[:80]}, and not {str(first)[:80]}" if first == second else ""


def _disturbed(root: Path, logs: Path, arguments: list[str], fault: str, point: int) -> None:
    """In a fork: watch the writes below `root`, and run the command."""
    os.setsid()
    for number in (1, 2):
        handle = os.open(logs / ("out", "err")[number - 1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(root)
    os.environ |= {f"LTAUG_{command}_WORKERS": "1" for command in ("RUN", "GROW", "TRAIN_CLASSIFIER")}
    os.environ |= {"LTAUG_CACHE": str(root / "cache"), "LTAUG_DEVICE": "cpu", "LTAUG_THREADS": "1"}
    _watch(root, logs, fault, point)
    from ltaug.cli import main
    from ltaug.pipeline import child

    child.subprocess = SimpleNamespace(Popen=Forked, PIPE=None, TimeoutExpired=subprocess.TimeoutExpired)
    main(arguments)


class Forked:
    """In the place of subprocess.Popen: a fork, which inherits the watching and needs no new start."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **_: Any) -> None:
        (calls, sent), (received, answers) = os.pipe(), os.pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_in_the_place_of, args=(command[-1], dict(env), (calls, answers), (sent, received))
        )
        self._process.start()
        os.close(calls)
        os.close(answers)
        self.stdin, self.stdout = os.fdopen(sent, "wb"), os.fdopen(received, "rb")
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0.0)
        return self._process.exitcode


def _in_the_place_of(code: str, environment: dict[str, str], own: tuple[int, int], others: tuple[int, int]) -> None:
    """In the fork: run the command's code with its environment and pipes."""
    for handle, number in zip(own, (0, 1), strict=True):
        os.dup2(handle, number)
        os.close(handle)
    for handle in others:  # or it never sees its parent's end closed
        os.close(handle)
    os.environ.clear()
    os.environ.update(environment)
    exec(code, {})


def _watch(root: Path, logs: Path, fault: str, point: int) -> None:
    count, leader, real_fsync = multiprocessing.get_context("fork").Value("i", 0), os.getpid(), os.fsync
    unsynced: set[str] = set()
    listing = os.open(logs / "points", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    inside = f"{root}{os.sep}"

    def below(path: Any) -> str:
        """The path relative to `root`, "" for one that is not below it."""
        if not isinstance(path, str | bytes | os.PathLike):
            return ""
        whole = str(Path(os.fsdecode(path)).absolute())
        return whole[len(inside) :] if whole.startswith(inside) else ""

    def before(event: str, path: str) -> None:
        with count.get_lock():
            count.value += 1
            now = count.value
        os.write(listing, f"{event} {path}\n".encode("utf-8", "surrogateescape"))
        if fault == "disk full" and now >= point > 0 and event in ("open", "os.mkdir", "fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([path] if event != "fsync" else []))
        if now != point:
            return
        if fault == "input/output error":
            raise OSError(errno.EIO, os.strerror(errno.EIO), *([path] if event != "fsync" else []))
        if fault == "SIGTERM":
            os.kill(leader, signal.SIGTERM)
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "power cut":
            for name in [name for name in list(unsynced) if Path(name).is_file()]:
                os.truncate(name, 0)
            os.killpg(leader, signal.SIGKILL)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING and (path := below(args[0])):
            before(event, path)
            unsynced.add(inside + path)
        elif event in NAMES and (path := below(args[0])):
            before(event, path)
            if event == "os.rename" and (old := inside + path) in unsynced:
                unsynced.discard(old)
                unsynced.add(str(Path(os.fsdecode(args[1])).absolute()))

    def fsync(handle: int) -> None:
        where = str(Path(f"/proc/self/fd/{handle if isinstance(handle, int) else handle.fileno()}").readlink())
        if path := below(where):
            before("fsync", path)
            unsynced.discard(where)
        real_fsync(handle)

    os.fsync = fsync
    sys.addaudithook(hook)
