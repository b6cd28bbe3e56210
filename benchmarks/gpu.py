"""Everything worth measuring on a GPU, in order of worth, in steps of under nine minutes each; resumable.

    python benchmarks/gpu.py --out gpu --data cifar100-lt.zip                   # all of it; may be stopped at any moment
    python benchmarks/gpu.py --out gpu --data cifar100-lt.zip --minutes 8.5     # as much as fits; the same command goes on
    python benchmarks/gpu.py --out gpu --only fit-step,sampling
    python benchmarks/gpu.py --out /tmp/try --device cpu --tiny                 # the whole script on a machine without a GPU

Needs the checkout, an environment that imports ltaug (and pytest), and for what trains on real images one archive or folder of
train/CLASS and test/CLASS. Steps leave tables in OUT/tables.jsonl and their output in OUT/NAME.log; OUT/done.json says which
are done. A step that is itself resumable (the recipe) goes on where --minutes stopped it. Every call ends with what there is so
far, as tables, in OUT/gpu.json and in OUT/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tables import as_text

HERE = Path(__file__).resolve().parent
PATIENCE = 30.0  # seconds for a step to save its state after it was asked to stop


@dataclass(frozen=True)
class Step:
    """A command, and a smaller one that shows only that it works; {OUT}, {DATA} and {REST} are filled in.

    Attributes:
        minutes: it takes at most; it is not begun where less is left, unless it goes on where it was stopped.
        continues: stopped, it goes on where it was when run again.
    """

    command: Sequence[str]
    tiny: Sequence[str]
    minutes: float
    continues: bool = False


TINY = """
about = "gpu.py --tiny: the path of the ten-minute recipe"
dataset = "folder:PATH"
[fit-generator]
label-set = "bal"
channels = 8
channel-mults = [1, 2]
blocks = 1
attention = []
steps = 5
batch-size = 8
[synthesize]
per-class-budget = "2"
sample-steps = 2
[train-classifier]
model = "resnet8"
steps = 5
[arms.real]
[arms.cbdm]
fit-generator = { objective = "cbdm" }
"""


def script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), *arguments]


def ltaug(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ltaug", *arguments]


def recipe(*, seeds: int) -> Step:
    """The ten-minute recipe; more seeds go on from what fewer have done."""
    flags = ("--dataset", "folder:{DATA}", "--seeds", str(seeds), "--out", "{OUT}/recipe")
    return Step(ltaug("run", "cifar100-lt-10min", *flags), ltaug("run", "{OUT}/tiny.toml", *flags), 2, continues=True)


PYTEST, TESTS = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"), HERE.parent / "tests"
SMALL = ("--channels", "16", "--rounds", "2")
STEPS: dict[str, Step] = {
    "correct": Step(
        [*PYTEST, "-m", "gpu", *(str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.gpu" in path.read_text())],
        [*PYTEST, str(TESTS / "test_place.py")],
        5,
    ),
    "fit-step": Step(
        script("fit_step", "--image-size", "32", "--batch-size", "128", "--rounds", "20", "--compile"),
        script("fit_step", "--batch-size", "8", *SMALL),
        6,
    ),
    "fit-step-512": Step(
        script("fit_step", "--image-size", "32", "--batch-size", "512", "--rounds", "8", "--compile"),
        script("fit_step", "--batch-size", "16", *SMALL),
        6,
    ),
    "recipe": recipe(seeds=1),
    "sampling": Step(
        script("sampling", "--image-size", "32", "--batches", "256,1024,2048", "--repeats", "2", "--compile"),
        script("sampling", "--image-size", "8", "--batches", "4,8", "--repeats", "1"),
        6,
    ),
    "sampling-published": Step(
        script("sampling", "--image-size", "32", "--batch", "256"), script("sampling", "--image-size", "8", "--rounds", "1"), 3
    ),
    "classifier": Step(
        script("classifier", "--steps", "100", "--rounds", "7", "--seeds", "3", "--compile"),
        script("classifier", "--image-size", "8", "--steps", "2", "--rounds", "1"),
        8,
    ),
    "published": Step(  # needs diffusers
        script("published", "--out", "{OUT}/published"), script("published", "--tiny", "--out", "{OUT}/published"), 8
    ),
    "scaling": Step(
        script("scaling", "--channels", "128", "--blocks", "2", "--batch-size", "64", "--sides", "32,64,128"),
        script("scaling", "--channels", "8", "--rounds", "1", "--sides", "8,16", "--classes", "10,100", "--counts", "100,1000"),
        6,
    ),
    "recipe-seeds": recipe(seeds=3),
    "choices": Step(
        script("choices", "--dataset", "folder:{DATA}", "--reference", "folder:{REST}", "--out", "{OUT}/choices"),
        script("choices", "--dataset", "folder:{DATA}", "--reference", "test", "--out", "{OUT}/choices", "--tiny"),
        2,
        continues=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="an archive or a folder of train/CLASS and test/CLASS")
    parser.add_argument("--rest", type=Path, nargs="*", default=[], help="archives of rest/CLASS: what choices compares with")
    parser.add_argument("--minutes", type=float, default=8.5, help="for this call")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(STEPS), metavar="LIST")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--tiny", action="store_true", help="every step at a size that shows only that it works")
    a = parser.parse_args()
    deadline = time.monotonic() + 60 * a.minutes
    a.out.mkdir(parents=True, exist_ok=True)
    unknown = set(a.only) - set(STEPS)
    if unknown:
        parser.error(f"--only: no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    places = {"OUT": str(a.out), "DATA": _unpacked(a.data, a.out / "data"), "REST": _unpacked_all(a.rest, a.out / "rest")}
    if a.tiny:
        (a.out / "tiny.toml").write_text(TINY)
    done = _read(a.out / "done.json")
    commands = {name: _placed(STEPS[name].tiny if a.tiny else STEPS[name].command, places) for name in a.only}
    for name, command in commands.items():
        left = (deadline - time.monotonic()) / 60
        if command is None or done.get(name) == "done":
            continue
        if left < (0.1 if a.tiny else STEPS[name].minutes):
            print(f"{name}: left for the next call, which needs {STEPS[name].minutes:g} minutes")
            continue
        done[name] = _take(name, command, a, deadline)
        (a.out / "done.json").write_text(json.dumps(done, indent=2))
    _conclude(a.out, done, [name for name, command in commands.items() if command is None])


def _placed(words: Sequence[str], places: Mapping[str, str | None]) -> list[str] | None:
    """A command with its paths; None where one that it needs was not given."""
    placed = list(words)
    for name, place in places.items():
        if place is None and any(f"{{{name}}}" in word for word in words):
            return None
        placed = [word.replace(f"{{{name}}}", place or "") for word in placed]
    return placed


def _take(name: str, command: list[str], a: argparse.Namespace, deadline: float) -> str:
    """Run a step until it is done or the time is up; "done", "stopped" or "failed"."""
    if Path(command[1]).parent == HERE:
        command += ["--device", a.device, "--json", str(a.out / "tables.jsonl")]
    print(f"{name}: {' '.join(command[1:])}", flush=True)
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent}:{os.environ.get('PYTHONPATH', '')}", "LTAUG_DEVICE": a.device}
    environment["LTAUG_CACHE"] = str((a.out / "cache").resolve())
    began = time.monotonic()
    with (a.out / f"{name}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            code = process.wait(max(1.0, deadline - time.monotonic() - (PATIENCE if STEPS[name].continues else 0)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            code = None
    outcome = "stopped" if code is None else "done" if code == 0 else "failed"
    print(f"{name}: {outcome} after {(time.monotonic() - began) / 60:.1f} minutes")
    if outcome == "failed":
        print("\n".join((a.out / f"{name}.log").read_text().splitlines()[-15:]))
    return outcome


def _unpacked(data: Path | None, folder: Path) -> str | None:
    """The folder of images, an archive being unpacked once."""
    if data is None or data.is_dir():
        return None if data is None else str(data)
    if not folder.exists():
        temporary = folder.with_name(f".{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        with zipfile.ZipFile(data) as archive:
            archive.extractall(temporary)
        temporary.rename(folder)
    return str(folder)


def _unpacked_all(archives: Sequence[Path], folder: Path) -> str | None:
    """rest/CLASS of all archives together."""
    for archive in archives:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
    return str(folder / "rest") if folder.exists() else None


def _read(path: Path) -> dict[str, str]:
    return json.loads(path.read_text()) if path.exists() else {}


def _conclude(out: Path, done: dict[str, str], lacking: list[str]) -> None:
    """All tables so far and the recipe's report, printed and in OUT/gpu.json and OUT/gpu.md."""
    lines = (out / "tables.jsonl").read_text().splitlines() if (out / "tables.jsonl").exists() else []
    tables = [json.loads(line) for line in lines]
    report = out / "recipe" / "report" / "report.md"
    arms = report.read_text().split("### All metrics")[0] if report.exists() else ""
    text = "\n".join([*(as_text(table) for table in tables), arms])
    (out / "gpu.md").write_text(text)
    found = {"steps": done, "tables": tables, "recipe": _read(report.with_suffix(".json")) or None}
    (out / "gpu.json").write_text(json.dumps(found, indent=2))
    print("\n" + text)
    left = [name for name in STEPS if done.get(name) != "done" and name not in lacking]
    print(f"done: {', '.join(n for n, how in done.items() if how == 'done') or 'nothing'}; left: {', '.join(left) or 'nothing'}")
    if lacking:
        print(f"not without --data (choices: --rest too): {', '.join(lacking)}")


if __name__ == "__main__":
    main()
