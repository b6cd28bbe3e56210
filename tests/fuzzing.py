"""Fuzzed inputs: each must end in a result or in one sentence, with an exit code that `ltaug --help` explains."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from forking import forking
from fuzzed_files import arrays, image_folder, shards, synthetic_folder
from fuzzed_runs import run_directory
from fuzzed_texts import budget, command_line, recipe
from fuzzed_values import Given

from ltaug.cli.commands import EPILOG

LIMIT = 60.0  # seconds of one input
MEMORY = 6 * 2**30  # bytes that it may take beyond what its process begins with
CODES = {int(code) for code in re.findall(r"(\d+) [a-z]", EPILOG.partition("Exit codes:")[2])}
GOOD = ("done", "refused")
# Each makes its files in an empty folder, given a finished experiment and a source of randomness.
KINDS = {
    "command line": command_line,
    "run directory": run_directory,
    "recipe": recipe,
    "image folder": image_folder,
    "arrays": arrays,
    "shards": shards,
    "synthetic folder": synthetic_folder,
    "budget": budget,
}
TURNS = (*KINDS, "command line", "run directory", "run directory", "recipe")  # more of what has more to it


class Fuzzed(NamedTuple):
    """An input, and what came of it: one of GOOD, or what is wrong with it."""

    kind: str
    description: str
    outcome: str


def fuzz(root: Path, made: Path, number: int, *, seed: int) -> Iterator[Fuzzed]:
    """Try `number` inputs, of every kind in turn, in processes of their own; number n of a seed is always the same.

    Args:
        root: an empty folder to work in.
        made: of `flipping.make_experiment`, which is left as it is.
    """
    context = forking()
    for n in range(number):
        kind, folder = TURNS[n % len(TURNS)], root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        random = Random(f"{seed}/{n}")
        given = KINDS[kind](folder, made, random)
        if random.random() < 0.4:
            given = given._replace(arguments=[*given.arguments, "--json"])
        process = context.Process(target=_call, args=(given, folder, root))
        process.start()
        process.join(LIMIT)
        if hangs := process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        words = " ".join([*(f"{name}={value}" for name, value in given.environment.items()), shlex.join(given.arguments)])
        told = [(root / name).read_text(errors="surrogateescape") for name in ("stdout", "stderr")]
        outcome = "hangs" if hangs else outcome_of(process.exitcode, *told, as_json="--json" in given.arguments)
        yield Fuzzed(kind, f"{seed}/{n}: {words!a} ({given.about})", outcome)


def _call(given: Given, folder: Path, root: Path) -> None:
    """The command line in a process of its own, as from a shell; the stages that it would give to workers are called here."""
    os.setsid()
    for name in ("stdout", "stderr"):
        file = (root / name).open("w", encoding="utf-8", errors="strict" if name == "stdout" else "backslashreplace")
        os.dup2(file.fileno(), getattr(sys, f"__{name}__").fileno())
        setattr(sys, name, file)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    os.environ |= {"LTAUG_CACHE": str(root / "cache"), "LTAUG_DATA": str(root / "data"), **given.environment}
    from ltaug import pipeline
    from ltaug.cli import main

    pipeline.run_tasks = _one_after_another
    main(given.arguments)


def _one_after_another(tasks: Any, *, machine: Any, listener: Any, **how: Any) -> dict[str, Any]:
    from ltaug import stages

    return {task.name: getattr(stages, task.function)(**task.kwargs, machine=machine, listener=listener) for task in tasks}


def outcome_of(code: int | None, out: str, err: str, *, as_json: bool) -> str:
    """One of GOOD, or what is wrong with an exit code, what stands on stdout and on stderr."""
    message = err.rpartition("Error: ")[2]
    if "Traceback" in err:
        return f"traceback: {err.strip().splitlines()[-1]}"
    if code not in CODES:
        return f"exit code: {code} {err[-200:]}"
    if as_json and not _is_one_object(out):
        return f"not one JSON object: {out[:200]!r} {err[-200:]!r}"
    if code == 0:
        return "done"
    if "Error: " in err and (message.startswith("[Errno") or len(message.split()) < 3):
        return f"no sentence: {message}"
    return "refused" if "Error: " in err or out or "Usage: " in err else "no message"


def _is_one_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=lambda name: 1 / 0), dict)
    except (ValueError, ZeroDivisionError):
        return False
