"""Checkpoints of a long classifier fit, from which an interrupted fit resumes bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from ltaug.files import atomic_directory, verify_directory

STATE_FILE = "state.pt"


def save_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    """Write weights and momentum atomically as `folder`/step-N, then delete the previous checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    before = _steps(folder)
    with atomic_directory(folder / f"step-{step}") as path:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path / STATE_FILE)
    for old in before:
        shutil.rmtree(folder / f"step-{old}")


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, device: torch.device) -> int:
    """Load the newest checkpoint into `model` and `optimizer`; returns the steps it had done, or 0 if there is none.

    Raises:
        CorruptError: one of its files is missing or does not match its digest.
    """
    steps = _steps(folder)
    if not steps:
        return 0
    newest = folder / f"step-{max(steps)}"
    verify_directory(newest)
    state = torch.load(newest / STATE_FILE, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return max(steps)


def _steps(folder: Path) -> list[int]:
    return [int(p.name.removeprefix("step-")) for p in folder.glob("step-*") if p.is_dir()]
