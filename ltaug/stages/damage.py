"""check: what ltaug wrote is read back, every file against its digest and every run against those that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltaug.data.cache import ENTRY
from ltaug.data.given import read_given
from ltaug.data.imageset import ImageSet
from ltaug.data.shards import file_of
from ltaug.errors import CorruptError, DataError, LtaugError, MismatchError, OptionError
from ltaug.files import MANIFEST, verify_directory, verify_file, verify_json
from ltaug.manifest import KEPT, Row, read_kept, read_manifest, synthetic_digest
from ltaug.records import REPORT_FILE, ClassifierRecord, SynthesisRecord, verify_report
from ltaug.runs import RUN_FILE, read_run
from ltaug.stages.remaking import remake
from ltaug.synthesis.parts import FOLDER, verify_parts

RUN_FILES = (RUN_FILE, "metrics.jsonl", "checkpoints")  # the others are still there where run.json is lost
COSTS = {
    "fit-generator": "the generator cannot be sampled, evaluated or tuned",
    "synthesize": "no classifier can be trained on these images",
    "evaluate-generator": "reports refuse the evaluation",
    "train-classifier": "reports refuse the classifier, and it cannot judge or teach",
    "cross-fit": "reports refuse the rounds that it belongs to",
    "figure": "the figure and its data cannot be relied on",
}


class Damage(NamedTuple):
    """A file that is not what it was, what that costs, and how to have it again; a clause each."""

    path: str
    what: str
    costs: str
    remedy: str


class Found(NamedTuple):
    """How many runs, reports and entries of the dataset cache were read, which runs are unfinished, and every damage."""

    runs: int
    reports: int
    cached: int
    unfinished: tuple[str, ...]
    damages: tuple[Damage, ...]


def find_damage(paths: Sequence[Path]) -> Found:
    """Read everything at or below these directories back; `ltaug check`.

    Inputs of a run are compared where they still lie, synthetic images that ltaug did not make among them.

    Raises:
        OptionError: there is nothing that ltaug wrote.
    """
    runs, reports, cached = (holding(paths, names) for names in (RUN_FILES, (REPORT_FILE,), ENTRY))
    if not (runs or reports or cached):
        raise OptionError(f"there is no run, report or cached dataset in {', '.join(map(str, paths))}; name a directory of some")
    damages, unfinished, digests, images = list[Damage](), list[str](), cache(digests_of), cache(_images)
    for path in runs:
        damages += _in_run(path, unfinished)
    said = {one.what for one in damages}
    damages += [one for path in runs for one in _between(path, digests, images) if one.what not in said]
    costs = "nothing but the page: the runs that it tells of are files of their own"
    for path in reports:
        damages += _tried(path / REPORT_FILE, partial(verify_report, path), costs, remake(path))
    for path in cached:
        costs, remedy = "decoding the images once more", f"delete {path} and run any command that reads them"
        damages += _tried(path, partial(verify_directory, path, ENTRY), costs, remedy)
    return Found(len(runs), len(reports), len(cached), tuple(unfinished), tuple(damages))


def holding(paths: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The directories at or below `paths` that have a file of one of these names."""
    return sorted({file.parent.resolve() for path in paths for name in names for file in path.rglob(name)})


def _tried(file: Path, verify: Callable[[], object], costs: str, remedy: str) -> Iterator[Damage]:
    """What `verify` finds wrong."""
    try:
        verify()
    except MismatchError as error:  # another version of ltaug wrote it
        what, _, remedy = str(error).partition("; ")
        yield Damage(str(file), what, "nothing", remedy)
    except (LtaugError, OSError) as error:
        yield Damage(str(file), str(error).partition("; ")[0], costs, remedy)


def _in_run(path: Path, unfinished: list[str]) -> Iterator[Damage]:
    own, costs, remedy = path / RUN_FILE, "nothing in this run can be used", f"delete {path} and {remake(path)}"
    found = [*_tried(own, partial(read_run, path), costs, remedy), *_tried(own, partial(verify_json, own), costs, remedy)]
    if found:
        yield found[0]
        return
    record = read_run(path)
    stage, finished = str(record["stage"]), record["status"] == "finished"
    costs = f"{COSTS[stage]} ({sum(record['timings'].values()):.0f} s of work)"
    for name, digest in record["outputs"].items():
        found += _tried(path / name, partial(verify_file, path / name, digest, whole=path), costs, remedy)
    if stage == SynthesisRecord.stage and not finished:
        found += _tried(path / FOLDER, partial(verify_parts, path), costs, remedy)
    elif stage == SynthesisRecord.stage and not found:
        for file, rows in _by_file(path).items():
            found += _tried(path / file, partial(read_kept, path, rows, shape=record["facts"]["image_shape"]), costs, remedy)
    yield from found
    unfinished += [] if finished else [str(path)]
    costs = "nothing, as a finished fit needs its last average alone" if finished else "the steps after the checkpoint before it"
    for folder in path.glob("checkpoints/step-*"):
        # Of a finished fit `ltaug clean` takes away what nobody needs, first from the manifest.
        there = [] if finished else [file.name for file in folder.iterdir() if file.name != MANIFEST]
        mended = f"delete {folder}{'' if finished else f' and {remake(path)}'}"
        yield from _tried(folder, partial(verify_directory, folder, there), costs, mended)


def _between(path: Path, digests: Callable[[Path], frozenset[str]], images: Callable[..., str]) -> Iterator[Damage]:
    """Inputs of a run that are no longer what it was made from, where they still lie."""
    costs, remedy = "what this run says is of an input that is gone", f"put that back, or delete {path} and {remake(path)}"
    with suppress(LtaugError):  # of which `_in_run` tells
        record = read_run(path)
        for other in inputs_of(record["inputs"]):
            where = (path / other["path"]).resolve()
            if (where / RUN_FILE).is_file():
                yield from _tried(path, partial(_verify_input, path, where, other["digest"], digests), costs, remedy)
            elif where.exists() and "origin" in other and record["status"] == "finished":
                yield from _tried(path, partial(_verify_images, path, where, other["digest"], images), costs, remedy)


def _by_file(path: Path) -> dict[str, list[Row]]:
    """The kept images of a synthesis by the file or shard that holds them."""
    images: dict[str, list[Row]] = {}
    for row in read_manifest(path):
        if row.verdict == KEPT:
            images.setdefault(file_of(row.file), []).append(row)
    return images


def inputs_of(given: Any) -> Iterator[Mapping[str, Any]]:
    """The runs that a record names as inputs, at whatever depth."""
    if isinstance(given, Mapping) and given.get("path") and given.get("digest"):
        yield given
    else:
        for part in given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else ():
            yield from inputs_of(part)


def digests_of(run: Path) -> frozenset[str]:
    """What other runs may have recorded as the digest of this one."""
    record = read_run(run)
    made = record["stage"] == SynthesisRecord.stage and record["status"] == "finished"
    return frozenset(record["outputs"].values()) | ({synthetic_digest(run)} if made else set())


def _verify_input(path: Path, where: Path, digest: str, digests: Callable[[Path], frozenset[str]]) -> None:
    if digest not in digests(where):
        raise CorruptError(f"{path} was made from another {where} than lies there now")


def _images(where: Path, class_names: tuple[str, ...], shape: tuple[int, ...]) -> str:
    """The digest of images that ltaug did not make, as a classifier of these classes and this shape of images reads them."""
    return read_given(where, ImageSet(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64), class_names, "")).images.digest


def _verify_images(path: Path, where: Path, digest: str, images: Callable[..., str]) -> None:
    from ltaug.classifier.judge import WEIGHTS_FILE, load_weights  # loads torch

    ClassifierRecord.read(path).verify(WEIGHTS_FILE)
    try:
        found = images(where, *load_weights(path / WEIGHTS_FILE)[1:])
    except (DataError, MismatchError):
        found = ""
    if found != digest:
        raise CorruptError(f"{path} was made with other images than lie in {where} now")
