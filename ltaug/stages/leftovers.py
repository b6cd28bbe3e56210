"""clean: what finished runs no longer need, what killed processes left, and the dataset cache.

Locks stay: they take no room, and to remove one splits the processes that wait for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ltaug.data.cache import ABOUT, INDICES, LATENTS, cache_directory, entries_in, lock_of
from ltaug.errors import CorruptError, OptionError, RunExistsError
from ltaug.files import HALF, MANIFEST, is_half, read_json, read_manifest, write_manifest
from ltaug.records import REPORT_FILE
from ltaug.runs import LOCK_FILE, RUN_FILE, locked, read_run, verify_outputs
from ltaug.stages.damage import digests_of, holding, inputs_of
from ltaug.synthesis.parts import FOLDER

CHECKPOINTS = "checkpoints"
AT_WORK = "another process works on it"


class Leftover(NamedTuple):
    """A file or directory that is not needed: bytes, what it is, and what removing it costs; a clause each."""

    path: str
    what: str
    size: int
    costs: str


class Leftovers(NamedTuple):
    """What is not needed, and the directories in which nothing is touched, each with the reason."""

    leftovers: tuple[Leftover, ...]
    left: tuple[tuple[str, str], ...]


def find_leftovers(paths: Sequence[Path], *, remove: bool = False) -> Leftovers:
    """What is not needed at or below these directories; `ltaug clean`.

    A kill leaves every run such that it opens again, and the rest to be found again.

    Args:
        paths: entries of the dataset cache are found only where its directory is one of them.
        remove: remove it as well.

    Raises:
        OptionError: there is nothing that ltaug wrote.
    """
    found, left, digests = list[Leftover](), list[tuple[str, str]](), cache(digests_of)
    directories, cached = holding(paths, (RUN_FILE, REPORT_FILE)), cache_directory().resolve() in map(Path.resolve, paths)
    if not (directories or cached):
        raise OptionError(f"there is no run or report in {', '.join(map(str, paths))}; name a directory of some, or the cache's")
    for path in directories:
        try:
            with ExitStack() as locks:
                for lock in {*path.glob(f"{LOCK_FILE}*"), *([path / LOCK_FILE] if remove else ())}:
                    locks.enter_context(locked(lock, AT_WORK))
                found += _cleaned(path, list(_in_directory(path, digests)), remove=remove)
        except RunExistsError as error:
            left.append((str(path), str(error)))
        except CorruptError:
            left.append((str(path), "it is damaged, of which `ltaug check` says more"))
    for path in entries_in(cache_directory()) if cached else ():
        try:
            with locked(lock_of(path), AT_WORK):
                found += _cleaned(path.parent, [_cached(path)], remove=remove)
        except RunExistsError as error:
            left.append((str(path), str(error)))
    return Leftovers(tuple(found), tuple(left))


def _in_directory(path: Path, digests: Callable[[Path], frozenset[str]]) -> Iterator[Leftover]:
    """What a run or report does not need.

    Raises:
        CorruptError: the run is damaged, so that all of it may still be needed.
    """
    if not (path / RUN_FILE).is_file():
        yield from map(_half, path.glob(f".*{HALF}"))
        return
    record = read_run(path)
    finished = record["status"] == "finished"
    if not finished and (other := _replaced(path, record, digests)):
        costs = f"{sum(record['timings'].values()):.0f} s of work, and {other} as it was"
        yield _leftover(path, f"unfinished, and its command refuses to go on, as {other} was made again otherwise", costs)
        return
    found = [_half(half) for half in path.rglob(f".*{HALF}") if not any(map(is_half, half.relative_to(path).parents))]
    if finished:
        more = _not_put_out(path / CHECKPOINTS, {path / name for name in record["outputs"]})
        found += [_leftover(one, "state of a finished fit", "nothing, no command reads it") for one in more]
        if (path / FOLDER).is_dir():
            found.append(_leftover(path / FOLDER, "parts of a finished synthesis", "nothing, its manifest has them"))
        if found:
            verify_outputs(path, record["outputs"])
    yield from found


def _not_put_out(checkpoints: Path, outputs: set[Path]) -> Iterator[Path]:
    """What is in the checkpoints of a finished run and not among its outputs, whole checkpoints as one."""
    for folder in sorted(checkpoints.glob("step-*")):
        if not any(folder in output.parents for output in outputs):
            yield folder
            continue
        yield from (file for file in sorted(folder.glob("[!.]*")) if file not in outputs and file.name != MANIFEST)


def _replaced(path: Path, record: Mapping[str, Any], digests: Callable[[Path], frozenset[str]]) -> Path | None:
    """An input of a run that was finished again as another, if there is one."""
    for other in inputs_of(record["inputs"]):
        where: Path = (path / other["path"]).resolve()
        with suppress(CorruptError):  # a damaged one may be mended
            if (where / RUN_FILE).is_file() and read_run(where)["status"] == "finished" and other["digest"] not in digests(where):
                return where
    return None


def _half(path: Path) -> Leftover:
    return _leftover(path, "half-written by a killed process", "nothing, no command reads it")


def _cached(path: Path) -> Leftover:
    if is_half(path):
        return _half(path)
    latents, index = ("cached latents", "encoding a dataset's images again"), ("cached index of shards", "reading them again")
    if other := {LATENTS: latents, INDICES: index}.get(path.parent.name):
        return _leftover(path, *other)
    with suppress(CorruptError):
        about = read_json(path / ABOUT)
        gone = "" if Path(about["root"]).is_dir() else ", a folder that is not there now"
        return _leftover(path, "cached dataset", f"decoding {about['images']} images of {about['root']} again{gone}")
    return _leftover(path, "damaged cached dataset", "decoding its images again")


def _leftover(path: Path, what: str, costs: str) -> Leftover:
    files = path.rglob("*") if path.is_dir() else [path]
    return Leftover(str(path), what, sum(file.lstat().st_size for file in files if not file.is_dir()), costs)


def _cleaned(path: Path, found: list[Leftover], *, remove: bool) -> list[Leftover]:
    """What was found in a directory, removed if it is to be."""
    for one in found if remove else ():
        if Path(one.path) == path:
            _remove_run(path)
        else:
            _remove(Path(one.path))
    return found


def _remove_run(path: Path) -> None:
    """Remove an unfinished run; its record, which says that it is one, last."""
    for below in path.iterdir():
        if below.name != RUN_FILE and not below.name.startswith(LOCK_FILE):
            _remove(below)
    (path / RUN_FILE).unlink()
    shutil.rmtree(path)


def _remove(path: Path) -> None:
    """Remove a file, or a directory, which is gone or half-written at once."""
    if (path.parent / MANIFEST).is_file():  # which must not name what is gone
        kept = {name: digest for name, digest in read_manifest(path.parent).items() if name != path.name}
        write_manifest(path.parent, kept)
    if not path.is_dir():
        path.unlink()
        return
    half = path if is_half(path) else path.rename(path.with_name(f".{path.name}.removed{HALF}"))
    shutil.rmtree(half)
