"""Files and directories that appear complete or not at all, JSON among them, and that their digests vouch for."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ltaug.errors import CorruptError, damaged
from ltaug.formats import DIRECTORY, FORMAT, require_known

MANIFEST = "manifest.json"
SEAL = "sha256"  # the key, in a sealed JSON object, of the digest of all its others
VERIFIED = ".verified"  # in a folder: what its files were like when their content was last verified
HALF = ".half"  # the ending of what is being written; a kill leaves it behind


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` complete (temporary name, fsync, rename) or not at all, and is then on the disk."""
    with whole_file(path) as file:
        yield file
    sync(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """The same for one file of many: its name is sure to outlast a power failure once `sync` was called for its folder."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=HALF)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)  # still there only if something went wrong


def write_bytes(path: Path, content: bytes) -> None:
    """A file of this content, as by `atomic_write`."""
    with atomic_write(path) as file:
        file.write(content)


def to_csv(rows: Iterable[Iterable[Any]]) -> bytes:
    """Rows of cells as UTF-8 CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def sync(path: Path) -> None:
    """Return once a file's content, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_half(path: Path, name: str = "") -> bool:
    """Whether this is what a killed process left of a file or directory that it was writing, of this name if one is given."""
    return path.name.startswith(f".{name}") and path.name.endswith(HALF)


def remove_halves(folder: Path, pattern: str = ".*") -> None:
    """Remove what killed processes left half-written in a folder that no process is writing to."""
    for path in folder.glob(f"{pattern}{HALF}"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON, atomically; NaN and infinity are refused rather than written."""
    write_bytes(path, _as_bytes(value))


def _as_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of its content; an earlier one is replaced."""
    content = {key: value for key, value in content.items() if key != SEAL}
    return content | {SEAL: hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()}


def require_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Raise CorruptError unless the JSON object read from `path` is as `sealed` left it."""
    if content != sealed(content):
        raise damaged(f"{path} is damaged or was edited", path.parent)


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run.

    Raises:
        CorruptError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError as error:
        raise CorruptError(f"{path} is missing; name a run's directory, or run its command again") from error
    except (ValueError, RecursionError) as error:
        raise damaged(f"{path} is damaged ({error})", path.parent) from error


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def verify_json(path: Path) -> None:
    """Raise CorruptError unless the file is, byte for byte, what `write_json` makes of the value in it."""
    if _as_bytes(read_json(path)) != path.read_bytes():
        raise damaged(f"{path} is damaged or was edited", path.parent)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_file(path: Path, expected: str, *, whole: Path) -> None:
    """Raise CorruptError unless the file has this SHA-256; `whole` is the directory to make again."""
    if not path.is_file():
        raise damaged(f"{path} is missing", whole)
    if file_digest(path) != expected:
        raise damaged(f"{path} is damaged: its SHA-256 is not the one recorded", whole)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A directory that appears at `path` complete and on the disk, or not at all, with a manifest of its files' digests."""
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=HALF))
    try:
        yield temporary
        found = sorted(temporary.rglob("*"))
        for path_found in found:
            sync(path_found)
        files = [file for file in found if file.is_file()]
        write_manifest(temporary, {file.relative_to(temporary).as_posix(): file_digest(file) for file in files})
        os.chmod(temporary, 0o755)
        temporary.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # still there only if something went wrong


def write_manifest(folder: Path, digests: Mapping[str, str]) -> None:
    """Vouch for the files of these names and digests in a folder."""
    write_json(folder / MANIFEST, sealed({FORMAT: DIRECTORY, "files": digests}))


def read_manifest(folder: Path) -> dict[str, str]:
    """The digest of each file that a folder's manifest vouches for.

    Raises:
        CorruptError: the manifest is damaged.
        MismatchError: a newer ltaug wrote it.
    """
    verify_json(folder / MANIFEST)
    found = digests = read_json(folder / MANIFEST)
    if isinstance(found, dict) and FORMAT in found:
        require_sealed(folder / MANIFEST, found)
        require_known(found, DIRECTORY, what=folder)
        digests = found["files"]
    if not isinstance(digests, dict):
        raise damaged(f"{folder / MANIFEST} names no files", folder)
    return digests


def verify_directory(path: Path, names: Sequence[str], *, read: Sequence[str] = ()) -> None:
    """Compare a directory's files (all, or those in `read`) with the digests in its manifest.

    Raises:
        CorruptError: the manifest is damaged or lacks one of the names, or a file is missing or damaged.
        MismatchError: a newer ltaug wrote it.
    """
    digests = read_manifest(path)
    if not digests.keys() >= set(names):
        raise damaged(f"{path / MANIFEST} does not name {', '.join(names)}", path)
    for name, digest in digests.items():
        if not read or name in read:
            verify_file(path / name, digest, whole=path)


def verify_changed(folder: Path, names: Sequence[str], verify: Callable[[], object], *, always: bool = False) -> None:
    """Call `verify`, which reads the files and folders of these names in `folder`, unless all is as when it last succeeded.

    It is if every file has the size, the modification time and the inode that it had then, and none came or went.

    Args:
        always: call it in any case.
    """
    now = _states(folder, names)
    stamp = folder / VERIFIED
    if always or not stamp.is_file() or stamp.read_bytes() != now:
        verify()
        with suppress(OSError):  # where nothing can be written, it is verified again next time
            remove_halves(folder, f".{VERIFIED}.*")
            write_bytes(stamp, now)


def _states(folder: Path, names: Sequence[str]) -> bytes:
    """A digest of the paths, sizes, modification times and inodes of all files of these names in a folder, or below them."""
    states, entered = hashlib.sha256(), {_place(folder.stat())}
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if entry.name in names), key=lambda entry: entry.name)
    while found:
        entry = found.pop()
        try:
            about = entry.stat()
        except OSError:  # a link that leads nowhere, or to itself
            about = entry.stat(follow_symlinks=False)
        if not stat.S_ISDIR(about.st_mode):
            state = f"{entry.path[len(str(folder)) :]}\0{about.st_size} {about.st_mtime_ns} {about.st_ino}\n"
            states.update(state.encode("utf-8", "surrogateescape"))
        elif _place(about) not in entered:  # a link may lead back
            entered.add(_place(about))
            with os.scandir(entry) as entries:
                found += sorted(entries, key=lambda below: below.name)
    return f"{states.hexdigest()}\n".encode()


def _place(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino
