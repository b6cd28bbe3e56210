"""A directory that an export fills: whole or not there, and left as it is where the same export filled it before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltaug.data.archives import EXPORT
from ltaug.errors import RunExistsError
from ltaug.files import atomic_directory, read_json, remove_halves, verify_directory, write_json


def made_once(out: Path, asked: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """What `make` says of the empty folder that it fills, or what it said of `out` where that was asked for before.

    Raises:
        RunExistsError: `out` exists and is something else.
        CorruptError: it is damaged.
    """
    if out.exists():
        about: dict[str, Any] = read_json(out / EXPORT) if (out / EXPORT).is_file() else {}
        if asked != {name: about.get(name) for name in asked}:
            raise RunExistsError(f"{out} exists; name another directory with --out, or delete it")
        verify_directory(out, [EXPORT])
        return about
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_halves(out.parent, f".{out.name}.*")
    with atomic_directory(out) as folder:
        about = {**asked, **make(folder)}
        write_json(folder / EXPORT, about)
    return about
