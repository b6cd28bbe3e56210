"""Checkpoints of a fit: FOLDER/step-N, each complete with digests or not there, the newest that is whole found again."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ltaug.errors import CorruptError, damaged, out_of_memory
from ltaug.files import atomic_directory, remove_halves

KEPT = 2  # so that there is another where one is damaged


def checkpoint_steps(folder: Path) -> list[int]:
    """N of every checkpoint `folder`/step-N, ascending."""
    return sorted(int(found[1]) for path in folder.glob("step-*") if (found := re.fullmatch(r"step-(\d+)", path.name)))


@contextmanager
def new_checkpoint(folder: Path, step: int) -> Iterator[Path]:
    """The directory `folder`/step-N, written as by `atomic_directory`; after it, all but the newest KEPT are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_halves(folder)
    with atomic_directory(folder / f"step-{step}") as path:
        yield path
    for old in checkpoint_steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old}")


def newest_checkpoint(folder: Path, read: Callable[[Path], Any], tell: Callable[[str], None]) -> tuple[int, Any]:
    """The step of the newest checkpoint that is whole, and what `read` makes of it; 0 and None where there is none.

    Damaged ones are removed, and `tell` hears of it.

    Args:
        read: the content of a checkpoint; raises CorruptError where it is damaged.
    """
    for step in reversed(checkpoint_steps(folder)):
        path = folder / f"step-{step}"
        try:
            return step, read(path)
        except CorruptError as error:
            tell(f"The checkpoint after step {step} is not used and removed: {str(error).partition(';')[0]}.")
            shutil.rmtree(path)
    return 0, None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU; raises CorruptError if it is none."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise damaged(f"{path} cannot be read ({error})", path.parent) from error


def put(state: Mapping[str, Any], into: torch.nn.Module, path: Path) -> None:
    """Load the state that was read from `path` into a module; raises CorruptError unless it is of that module."""
    try:
        into.load_state_dict(state)
    except RuntimeError as error:
        raise damaged(f"{path} has other weights than its network", path.parent) from error


def write_state(state: dict[str, Any], path: Path) -> None:
    """What `read_state` reads. Through a file of Python's, whose errors say what is wrong with the disk; torch's own do not."""
    with path.open("wb") as file:
        torch.save(state, file)


def read_state(path: Path, keys: Sequence[str], *, device: torch.device | str) -> dict[str, Any]:
    """The dict of tensors and plain values that torch.save wrote; nothing in the file is executed.

    Raises:
        CorruptError: it is something else, or lacks one of the keys.
    """
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise damaged(f"{path} is no saved state", path.parent) from error
    if not isinstance(state, dict) or not state.keys() >= set(keys):
        raise damaged(f"{path} does not hold {', '.join(keys)}", path.parent)
    return state
