"""Generator checkpoints: weights and EMA as safetensors, the optimizer beside them, digests written last."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ltaug.files import MANIFEST, atomic_directory, verify_directory
from ltaug.generator.ema import EMA

KEPT = 2
WEIGHTS_FILE = "weights.safetensors"
EMA_FILE = "ema.safetensors"


@dataclass(frozen=True)
class Trainee:
    """Everything that training changes; randomness is a function of the step and needs no saving."""

    denoiser: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMA


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints in a folder, ascending."""
    return sorted(int(p.name.removeprefix("step-")) for p in folder.glob("step-*") if (p / MANIFEST).exists())


def save_checkpoint(folder: Path, step: int, trainee: Trainee) -> None:
    """Write folder/step-N after `step` steps and remove all but the newest KEPT."""
    folder.mkdir(exist_ok=True)
    target = folder / f"step-{step}"
    if target.exists():
        return
    with atomic_directory(target) as new:
        save_file(_tensors(trainee.denoiser), new / WEIGHTS_FILE)
        save_file(_tensors(trainee.ema.module), new / EMA_FILE)
        state = {"optimizer": trainee.optimizer.state_dict(), "objective": trainee.objective.state_dict()}
        torch.save(state, new / "training.pt")
    for old in checkpoint_steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old}")


@dataclass(frozen=True)
class State:
    """What a checkpoint holds, on the CPU."""

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]
    objective: dict[str, Tensor]


def read_checkpoint(path: Path) -> State:
    """What is in folder/step-N.

    Raises:
        CorruptError: a file is missing or does not have its recorded digest.
    """
    verify_directory(path)
    training = torch.load(path / "training.pt", weights_only=True, map_location="cpu")
    weights, average = load_file(path / WEIGHTS_FILE), load_file(path / EMA_FILE)
    return State(weights, average, training["optimizer"], training["objective"])


def restore(trainee: Trainee, state: State) -> None:
    """Put a checkpoint's state into a trainee."""
    trainee.denoiser.load_state_dict(state.weights)
    trainee.ema.module.load_state_dict(state.average)
    ways = [{key: group[key] for key in ("foreach", "fused")} for group in trainee.optimizer.param_groups]
    trainee.optimizer.load_state_dict(state.optimizer)
    for group, way in zip(trainee.optimizer.param_groups, ways, strict=True):
        group.update(way)  # how it is computed is this run's, whatever the interrupted one's was
    trainee.objective.load_state_dict(state.objective)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
