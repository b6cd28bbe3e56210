"""Generator checkpoints: weights and EMA as safetensors, the optimizer beside them, digests written last."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ltaug.generator.ema import EMA
from ltaug.runs import MANIFEST, atomic_directory, verify_directory

KEPT = 2
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
        save_file(_tensors(trainee.denoiser), new / "weights.safetensors")
        save_file(_tensors(trainee.ema.module), new / EMA_FILE)
        state = {"optimizer": trainee.optimizer.state_dict(), "objective": trainee.objective.state_dict()}
        torch.save(state, new / "training.pt")
    for old in checkpoint_steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old}")


def load_checkpoint(path: Path, trainee: Trainee) -> None:
    """Put a checkpoint's state into a trainee.

    Raises:
        CorruptError: a file is missing or does not have its recorded digest.
    """
    verify_directory(path)
    trainee.denoiser.load_state_dict(load_file(path / "weights.safetensors"))
    trainee.ema.module.load_state_dict(load_file(path / EMA_FILE))
    training = torch.load(path / "training.pt", weights_only=True, map_location="cpu")
    ways = [{key: group[key] for key in ("foreach", "fused")} for group in trainee.optimizer.param_groups]
    trainee.optimizer.load_state_dict(training["optimizer"])
    for group, way in zip(trainee.optimizer.param_groups, ways, strict=True):
        group.update(way)  # how it is computed is this run's, whatever the interrupted one's was
    trainee.objective.load_state_dict(training["objective"])


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
