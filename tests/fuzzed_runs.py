"""Inputs nobody would give: the directories of a finished experiment with one artefact changed, and commands that read them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from flipping import RECIPE, artefacts
from fuzzed_files import odd_arrays
from fuzzed_values import DEEP, FITS, Given, changed, restructured
from safetensors import safe_open
from safetensors.numpy import save_file

from ltaug.files import MANIFEST, SEAL, file_digest, sealed, write_json
from ltaug.records import REPORT_FILE
from ltaug.runs import RUN_FILE


def run_directory(folder: Path, made: Path, random: Random) -> Given:
    """An artefact with changed bytes or structure, in part vouched for again, and a command that reads it."""
    runs = folder / "runs"
    shutil.copytree(made / "runs", runs)
    (folder / "r.toml").write_text(RECIPE)
    kinds: dict[str, list[Path]] = {}
    for path in artefacts(runs):
        kinds.setdefault(path.name if path.suffix != ".png" else "*.png", []).append(path)
    often = [kinds["run.json"], kinds["run.json"], kinds["metrics.json"]]  # what has most structure
    file = random.choice(random.choice(often if random.random() < 0.5 else [*kinds.values()]))
    damage = {".json": _json, ".csv": _csv, ".npz": _npz, ".safetensors": _safetensors}.get(file.suffix, _bytes)
    (damage if random.random() < 0.8 else _bytes)(file, random)
    if random.random() < 0.7:
        _vouch(file, random)
    return Given(_reader(runs, file, random), about=f"{file.relative_to(folder)}")


def _bytes(file: Path, random: Random) -> None:
    file.write_bytes(changed(file.read_bytes(), random))


def _json(file: Path, random: Random) -> None:
    document = restructured(json.loads(file.read_text()), random)
    if isinstance(document, dict) and SEAL in document and random.random() < 0.8:
        document = _sealed(document)
    text = json.dumps(document, indent=2) if random.random() < 0.95 else DEEP
    file.write_text(f"{text}\n")


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    try:
        return sealed(document)
    except ValueError:  # NaN cannot be sealed
        return document


def _csv(file: Path, random: Random) -> None:
    rows = restructured(list(csv.reader(file.read_text().splitlines())), random)
    with file.open("w", newline="", errors="replace") as lines:
        csv.writer(lines, lineterminator="\n").writerows([row if isinstance(row, list) else [row] for row in rows])


def _npz(file: Path, random: Random) -> None:
    with np.load(file) as archive:
        content = dict(archive)
    content[random.choice([*content, "x"])] = random.choice(odd_arrays(len(next(iter(content.values())))))
    np.savez(file, **content)


def _safetensors(file: Path, random: Random) -> None:
    with safe_open(file, framework="np") as weights:
        content, about = {name: weights.get_tensor(name) for name in weights.keys()}, weights.metadata() or {}  # noqa: SIM118
    if about and random.random() < 0.5:
        about = {name: json.dumps(restructured(json.loads(text), random)) for name, text in about.items()}
    elif random.random() < 0.5:
        del content[random.choice([*content])]
    else:
        content[random.choice([*content, "x"])] = random.choice([np.full((2, 2), np.nan, np.float32), np.zeros(0, np.int8)])
    save_file(content, file, metadata=about)


def _vouch(file: Path, random: Random) -> None:
    """Let the manifest of the file's checkpoint and the record of its run or report have its digest."""
    manifest = file.parent / MANIFEST
    if manifest.exists() and file != manifest:
        write_json(manifest, json.loads(manifest.read_text()) | {file.name: file_digest(file)})
    marks = [folder / name for folder in file.parents for name in (RUN_FILE, REPORT_FILE) if (folder / name).exists()]
    if file not in marks and marks:
        record, name = json.loads(marks[0].read_text()), str(file.relative_to(marks[0].parent))
        digests = record.get("outputs", record.get("files"))
        digests |= {name: file_digest(file)} if name in digests else {}
        if "checkpoints" in file.parts:  # which a fit reads that goes on
            record["status"] = random.choice(("finished", "running"))
        write_json(marks[0], sealed(record))


def _reader(runs: Path, file: Path, random: Random) -> list[str]:
    """A command that reads the run in which a file lies."""
    arms = runs / "seed-0/cbdm"
    gen, evaluation, cpu, out = str(arms / "generator"), str(arms / "evaluation"), ["--device", "cpu"], ["--out", "out"]
    syn = str((runs / "seed-0/shards" if "shards" in file.parts[len(runs.parts) :] else arms) / "synthetic")
    judge = str(file.parent if file.parent.name == "classifier" else runs / "seed-0/real/classifier")
    copied = str(shutil.copytree(evaluation, arms / "again"))
    small, two = ["--sample-steps", "2", "--per-class-budget", "total:2"], ["--steps", "2", "--workers", "1", *out, *cpu]
    again = ["--recipe", "r.toml", "--arm", Path(syn).parent.name, "--quiet", *cpu]
    readers = {
        "generator": [
            ["synthesize", gen, *small, *out, *cpu],
            ["synthesize", gen, *small, *out, *cpu, "--dry-run"],
            ["evaluate-generator", gen, "--samples", "20", "--extractor", "pixels", *out, *cpu],
            ["fit-generator", "--from", gen, "--steps", "2", *out, *cpu],
            ["fit-generator", *again, "--out", gen],
            ["figure", "samples", gen, "--per-class", "2", "--sample-steps", "2", *out, *cpu],
        ],
        "synthetic": [
            ["train-classifier", "--synthetic", syn, "--no-baseline", *two],
            ["train-classifier", "--synthetic", syn, "--dry-run", *two],
            ["synthesize", gen, *again, "--out", syn],
        ],
        "evaluation": [["figure", "class-fid", evaluation, copied, *out], ["figure", "tau", evaluation, copied, *out]],
        "report": [["report", str(runs), "--out", str(runs / "report")]],
        "extractor": [["evaluate-generator", gen, "--samples", "20", "--extractor", str(runs / "extractor"), *out, *cpu]],
        "classifier": [
            ["train-classifier", *FITS, "--distill", "real", "--teacher", judge, *two],
            ["synthesize", gen, "--judge", judge, "--select-agreement", *small, *out, *cpu],
        ],
    }
    own = next((found for part, found in readers.items() if part in file.parts), [])
    return random.choice([["check", str(runs)], ["report", str(runs), *out], *own, *own])
