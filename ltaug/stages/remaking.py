"""How a run is made again: the command, with the options, inputs and seed that run.json records."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltaug.errors import LtaugError
from ltaug.fields import is_read, shown
from ltaug.files import read_json
from ltaug.options import NETWORK, STAGES, DatasetOptions
from ltaug.recipes import CONTROL
from ltaug.runs import MARKER, read_run

BESIDE = (".judges", ".extractor")  # what the names of directories end in that a run makes beside its own


def remake(run: Path) -> str:
    """What to do to have the run at `run` again once it is deleted, as a clause."""
    home = next((folder for folder in run.parents if (folder / MARKER).is_file()), None)
    made_by = _made_by(home) if home else ""
    if home and made_by != "ltaug train-classifier":
        return f"rerun the `{made_by}` with --out {home}, which makes only what is missing"
    for part in (run, run.parent):
        if part.suffix in BESIDE:
            return remake(part.with_suffix(""))
    try:
        command = _command(run, read_run(run), home)
    except LtaugError:
        command = None
    if command:
        return f"run `{shlex.join(command)}`"
    return f"rerun the `{made_by}` with --out {home}" if home else "run its command again"


def _made_by(home: Path) -> str:
    """The command that claimed a directory of several runs, as far as that is recorded."""
    try:
        name = str(read_json(home / MARKER)["made_by"]).removeprefix("ltaug ")
    except (LtaugError, KeyError, TypeError):
        return "ltaug run"
    return f"ltaug {name}" if name in ("grow", "train-classifier") or name.startswith("run ") else f"ltaug run {name}"


def _command(run: Path, record: Mapping[str, Any], home: Path | None) -> list[str] | None:
    """The words of the command; None for what no command makes by itself, or not from what is recorded."""
    stage, inputs, options = record["stage"], record["inputs"], record["options"]
    if stage not in STAGES or (stage == "train-classifier") != (home is not None) or options.get("judge"):
        return None
    added = inputs.get("synthetic") or inputs.get("resampled_to")
    if stage == "train-classifier" and options[stage].get("distill") == "synthetic" and not added:
        return None  # made beside an arm with synthetic images, of which nothing is recorded
    words, own, out = ["ltaug", stage], dict(options[stage]), run
    if stage in ("synthesize", "evaluate-generator"):
        words.append(_lies(run, inputs["generator"]))
    else:
        words += flags(DatasetOptions, options["dataset"])
    words += _named("--judge", run, inputs.get("judges", ()), own=f"{run}.judges")
    if inputs.get("source"):
        words += ["--from", _lies(run, inputs["source"])]
        own = {key: value for key, value in own.items() if key not in NETWORK}
    if inputs.get("extractor", {}).get("path") and _lies(run, inputs["extractor"]) != f"{run}.extractor":
        own["extractor"] = f"{own['extractor']}:{_lies(run, inputs['extractor'])}"
    seed = record["seed"]
    if stage == "train-classifier":
        assert home is not None
        seed, out = inputs["train"]["draw_seed"], home
        words += ["--seeds", str(record["seed"] - seed + 1), *_comparison(run, inputs, options["arm"])]
        words += _named("--teacher", run, inputs.get("teachers", ()), own=str(home / "judges"))
    return [*words, *flags(STAGES[stage], own), "--seed", str(seed), "--out", str(out)]


def _comparison(run: Path, inputs: Mapping[str, Any], arm: str) -> Iterator[str]:
    """The words that make one arm of train-classifier."""
    if inputs.get("synthetic"):
        yield from ("--synthetic", _lies(run, inputs["synthetic"]), "--arm-name", arm, "--no-baseline")
    elif inputs.get("resampled_to"):
        yield from ("--synthetic", _lies(run, inputs["resampled_to"]))
        name = arm.removeprefix(CONTROL).removeprefix("-")
        yield from ("--arm-name", name) if name else ()


def _named(flag: str, run: Path, given: Sequence[Mapping[str, Any]], *, own: str) -> Iterator[str]:
    """A flag for each run that was taken, but for those that the command makes in its `own` directory."""
    for place in (_lies(run, one) for one in given):
        yield from () if Path(place).parent == Path(own) else (flag, place)


def _lies(run: Path, given: Mapping[str, Any]) -> str:
    return os.path.normpath(run / str(given["path"]))


def flags(cls: type, recorded: Mapping[str, Any]) -> Iterator[str]:
    """Options as flags, but for those that nothing reads or that have the default of images of any size."""
    for f in (f for f in dataclasses.fields(cls) if f.name in recorded):
        value = recorded[f.name]
        value = tuple(value) if isinstance(value, list) else value
        if value is None or value == f.default == f.metadata.get("small", f.default) or not is_read(f, recorded):
            continue
        flag = f.name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield from (f"--{flag}", shown(value))
