"""Files at URLs that fsspec supports, such as s3://bucket/set; errors of its back ends become DataErrors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from ltaug.errors import DataError, OptionError


def is_url(place: str) -> bool:
    return "://" in place


def require_backend(url: str) -> None:
    """Raise OptionError if this machine lacks the package for this kind of URL."""
    _open(url)


def read_url(url: str) -> bytes:
    """A whole file.

    Raises:
        FileNotFoundError: there is none.
        DataError: it cannot be read.
    """
    files, path = _open(url)
    with _said(url, "read"):
        return bytes(files.cat_file(path))


def write_url(url: str, content: bytes) -> None:
    """Write a whole file; DataError if that fails."""
    files, path = _open(url)
    with _said(url, "written"):
        files.pipe_file(path, content)


def remove_url(url: str) -> None:
    """Remove a file, if it is there."""
    files, path = _open(url)
    with _said(url, "removed"):
        files.invalidate_cache()
        if files.exists(path):
            files.rm_file(path)


def names_at(url: str) -> list[str]:
    """The names directly below a URL; empty if nothing is there."""
    files, path = _open(url)
    with _said(url, "listed"):
        files.invalidate_cache()
        try:
            return [str(found).rstrip("/").rsplit("/", 1)[-1] for found in files.ls(path, detail=False)]
        except FileNotFoundError:
            return []


def make_folder(url: str) -> None:
    """Make a folder, if the back end has folders."""
    files, path = _open(url)
    with _said(url, "written"):
        files.makedirs(path, exist_ok=True)


def _open(url: str) -> tuple[Any, str]:
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        remedy = "install the fsspec package for this kind of URL (s3fs, gcsfs, adlfs, ...) on every machine, or name another"
        raise OptionError(f"{url} cannot be opened ({error}); {remedy}") from error
    return files, str(path)


@contextmanager
def _said(url: str, done: str) -> Iterator[None]:
    """Raise any failure as a DataError, but leave a missing file a FileNotFoundError when reading."""
    try:
        yield
    except Exception as error:  # back ends share no class of errors: botocore's and gcsfs's are no OSErrors
        if done == "read" and isinstance(error, FileNotFoundError):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{url} cannot be {done} ({reason}); check the address, your credentials and your rights there"
        ) from error
