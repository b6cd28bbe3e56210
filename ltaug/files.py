"""Files and directories that appear complete or not at all, JSON among them, and that their digests vouch for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ltaug.errors import CorruptError

MANIFEST = "manifest.json"


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` complete (temporary name, fsync, rename) or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)  # still there only if something went wrong


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
    """A directory that appears at `path` complete, with a manifest of digests written last, or not at all."""
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        write_json(temporary / MANIFEST, {p.name: file_digest(p) for p in sorted(temporary.iterdir())})
        os.chmod(temporary, 0o755)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # still there only if something went wrong


def verify_directory(path: Path) -> None:
    """Raise CorruptError unless every file in the directory's manifest is there with its digest."""
    for name, digest in read_json(path / MANIFEST).items():
        verify_file(path / name, digest, whole=path)


def checkpoint_steps(folder: Path) -> list[int]:
    """N of every checkpoint `folder`/step-N, ascending."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


@contextmanager
def new_checkpoint(folder: Path, step: int, *, kept: int) -> Iterator[Path]:
    """The directory `folder`/step-N, written as by `atomic_directory`; after it, all but the newest `kept` are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_directory(folder / f"step-{step}") as path:
        yield path
    for old in checkpoint_steps(folder)[:-kept]:
        shutil.rmtree(folder / f"step-{old}")
