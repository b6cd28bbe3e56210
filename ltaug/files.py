"""Files and directories that appear complete or not at all, JSON among them, and that their digests vouch for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ltaug.errors import CorruptError

MANIFEST = "manifest.json"
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
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run.

    Raises:
        CorruptError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CorruptError(f"{path} is missing; name a run's directory, or run its command again") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptError(f"{path} is damaged ({error}); delete {path.parent} and run its command again") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_file(path: Path, expected: str, *, whole: Path) -> None:
    """Raise CorruptError unless the file has this SHA-256; `whole` is the directory to make again."""
    remedy = f"delete {whole} and run its command again"
    if not path.is_file():
        raise CorruptError(f"{path} is missing; {remedy}")
    if file_digest(path) != expected:
        raise CorruptError(f"{path} is damaged: its SHA-256 is not the one recorded; {remedy}")


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A directory of files that appears at `path` complete and on the disk, with a manifest of their digests, or not at all."""
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=HALF))
    try:
        yield temporary
        files = sorted(temporary.iterdir())
        for file in files:
            sync(file)
        write_json(temporary / MANIFEST, {file.name: file_digest(file) for file in files})
        os.chmod(temporary, 0o755)
        temporary.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # still there only if something went wrong


def verify_directory(path: Path, names: Sequence[str]) -> None:
    """Raise CorruptError unless the directory's manifest has these names, and every file in it is there with its digest."""
    digests = read_json(path / MANIFEST)
    if not isinstance(digests, dict) or not digests.keys() >= set(names):
        raise CorruptError(f"{path / MANIFEST} does not name {', '.join(names)}; delete {path} and run its command again")
    for name, digest in digests.items():
        verify_file(path / name, digest, whole=path)
