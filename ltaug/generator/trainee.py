"""What training a generator changes: network, objective, optimizer and averaged weights, and their checkpoints.

A checkpoint holds weights and average as safetensors, the rest beside them, and digests written last. Randomness is a function
of the step and needs no saving.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ltaug.checkpoints import KEPT, new_checkpoint, read_state, read_tensors, write_state
from ltaug.files import verify_directory
from ltaug.generator.denoiser import Denoiser
from ltaug.generator.objectives.terms import Objective
from ltaug.generator.tuning import frozen

CHECKPOINTS = "checkpoints"
WEIGHTS_FILE = "weights.safetensors"
EMA_FILE = "ema.safetensors"
STATE_FILE = "training.pt"

Lerp = Callable[[list[Tensor], list[Tensor], float], object]  # moves each of the first towards the second, in place


class EMA:
    """The exponential moving average of a module's weights, from which samples are drawn.

    It is updated in one foreach call (`lerp`; the plain way puts a loop there).

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that a short run does not average its beginning. Started
    from a trained network's weights, an average counts the steps behind those too (`steps_before`): the first further steps
    are no such beginning, and averaging over a tenth of a short fine-tuning would be noisy. On digits, 50 or 250 steps of
    CBDM after 1000 of DDPM, 2 seeds: mean loss on unseen images 0.0865 so, 0.0880 with a warm-up of its own, 0.0918 of the
    weights that are averaged.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        for own, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            if not theirs.requires_grad:
                own.data = theirs.data  # what does not learn is shared
        self.decay = decay
        self.steps_before = 0
        self.lerp: Lerp = torch._foreach_lerp_
        pairs = zip(self.module.parameters(), module.parameters(), strict=True)
        learning = [(own, theirs) for own, theirs in pairs if theirs.requires_grad]
        self._averaged: list[Tensor] = [own for own, _ in learning]
        self._current: list[Tensor] = [theirs for _, theirs in learning]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after `step` (counted from 0)."""
        self.lerp(self._averaged, self._current, 1 - self._decay(step))

    def share_left(self, steps: int) -> float:
        """How much of the average is still what it started from, after so many steps."""
        return math.prod(self._decay(step) for step in range(steps))

    def _decay(self, step: int) -> float:
        done = self.steps_before + step
        return min(self.decay, (1 + done) / (10 + done))


@dataclass(frozen=True)
class Trainee:
    """Everything that training changes."""

    denoiser: Denoiser
    objective: Objective
    optimizer: torch.optim.Optimizer
    ema: EMA
    skipped: Tensor  # float (), on the device: steps in a row that were left out, as their gradients were not finite


def learning(*modules: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def final_weights(steps: int) -> str:
    """Where the averaged weights after the last step lie, relative to the run."""
    return f"{CHECKPOINTS}/step-{steps}/{EMA_FILE}"


def disk_bytes(parameters: int) -> int:
    """Of a fit's checkpoints, in float32: weights, average and Adam's two moments; a new one is there before an old one goes."""
    return (KEPT + 1) * 4 * 4 * parameters


def save_checkpoint(folder: Path, step: int, trainee: Trainee) -> None:
    """Write folder/step-N after `step` steps and remove older ones (files.new_checkpoint)."""
    if (folder / f"step-{step}").exists():
        return
    with new_checkpoint(folder, step) as new:
        for module, name in ((trainee.denoiser, WEIGHTS_FILE), (trainee.ema.module, EMA_FILE)):
            save_file(_tensors(module, without=frozen(trainee.denoiser)), new / name)
        state = {"optimizer": trainee.optimizer.state_dict(), "objective": trainee.objective.state_dict()}
        write_state(state, new / STATE_FILE)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What is in folder/step-N, on the CPU: the state of "weights", "average", "optimizer" and "objective".

    Raises:
        CorruptError: a file is missing, does not have its recorded digest or holds something else.
    """
    verify_directory(path, (WEIGHTS_FILE, EMA_FILE, STATE_FILE))
    state = read_state(path / STATE_FILE, ("optimizer", "objective"), device="cpu")
    return {"weights": read_tensors(path / WEIGHTS_FILE), "average": read_tensors(path / EMA_FILE), **state}


def restore(trainee: Trainee, state: dict[str, Any]) -> None:
    """Put a checkpoint's state into a trainee."""
    fixed = frozen(trainee.denoiser)
    trainee.denoiser.load_state_dict(fixed | state["weights"])
    trainee.ema.module.load_state_dict(fixed | state["average"])
    ways = [{key: group[key] for key in ("foreach", "fused")} for group in trainee.optimizer.param_groups]
    trainee.optimizer.load_state_dict(state["optimizer"])
    for group, way in zip(trainee.optimizer.param_groups, ways, strict=True):
        group.update(way)  # how it is computed is this run's, whatever the interrupted one's was
    trainee.objective.load_state_dict(state["objective"])


def _tensors(module: nn.Module, *, without: Container[str]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items() if name not in without}
