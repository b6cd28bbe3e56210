"""Files at URLs that fsspec supports, such as s3://bucket/set; errors of its back ends become DataErrors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import fsspec

from ltaug.errors import DataError, LtaugError, OptionError


def is_url(place: str) -> bool:
    return "://" in place


def require_backend(url: str) -> None:
    """Raise OptionError if this machine lacks the package for this kind of URL."""
    with _opened(url, "opened"):
        pass


def read_url(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """A file, or its bytes from `start` up to `end`.

    Raises:
        FileNotFoundError: there is none.
        DataError: it cannot be read.
    """
    with _opened(url, "read") as (files, path):
        return bytes(files.cat_file(path, start, end))


@contextmanager
def open_url(url: str) -> Iterator[IO[bytes]]:
    """A file, of which what is asked for is read; raises as `read_url` does."""
    with _opened(url, "read") as (files, path), files.open(path, "rb") as file:
        yield file


def states_at(url: str, names: Sequence[str]) -> dict[str, str]:
    """The files below a URL, or these alone: of each, by its path from there, a digest that changes with its content."""
    with _opened(url, "listed") as (files, path):
        files.invalidate_cache()
        root = path.rstrip("/") + "/"
        found = [root + name for name in names] if names else files.find(path)
        about = {file.removeprefix(root): repr(files.info(file)) for file in found}
        return {name: hashlib.sha256(said.encode()).hexdigest() for name, said in about.items()}


def write_url(url: str, content: bytes) -> None:
    """Write a whole file; DataError if that fails."""
    with _opened(url, "written") as (files, path):
        files.pipe_file(path, content)


def remove_url(url: str) -> None:
    """Remove a file, if it is there."""
    with _opened(url, "removed") as (files, path):
        files.invalidate_cache()
        if files.exists(path):
            files.rm_file(path)


def names_at(url: str) -> list[str]:
    """The names directly below a URL; empty if nothing is there."""
    with _opened(url, "listed") as (files, path):
        files.invalidate_cache()
        try:
            return [str(found).rstrip("/").rsplit("/", 1)[-1] for found in files.ls(path, detail=False)]
        except FileNotFoundError:
            return []


def make_folder(url: str) -> None:
    """Make a folder, if the back end has folders."""
    with _opened(url, "written") as (files, path):
        files.makedirs(path, exist_ok=True)


@contextmanager
def _opened(url: str, done: str) -> Iterator[tuple[Any, str]]:
    """The back end and its path. A failure becomes a DataError, but a missing file stays a FileNotFoundError when reading."""
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        remedy = "install the fsspec package for this kind of URL (s3fs, gcsfs, adlfs, ...) on every machine, or name another"
        raise OptionError(f"{url} cannot be opened ({error}); {remedy}") from error
    try:
        yield files, str(path)
    except LtaugError:
        raise
    except Exception as error:  # back ends share no class of errors: botocore's and gcsfs's are no OSErrors
        if done == "read" and isinstance(error, FileNotFoundError):
            raise
        reason = f"{type(error).__name__}: {error}"
        remedy = "check the address, your credentials and your rights there"
        raise DataError(f"{url} cannot be {done} ({reason}); {remedy}") from error
