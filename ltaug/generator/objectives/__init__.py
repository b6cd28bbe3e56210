"""Objectives by name; `cbdm` is short for `ddpm+cbdm`, and terms combine with +."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ltaug.errors import OptionError
from ltaug.generator.objectives.cbdm import CBDM
from ltaug.generator.objectives.ddpm import plain_target
from ltaug.generator.objectives.t2h import OrientedCalibration
from ltaug.generator.objectives.terms import Objective, Regulariser, TargetRule
from ltaug.recipes import nearest

# name -> factory(class_counts)
TARGETS: dict[str, Callable[[Tensor], TargetRule]] = {
    "ddpm": lambda class_counts: plain_target,
    "t2h": partial(OrientedCalibration, gate="t2h"),
    "h2t": partial(OrientedCalibration, gate="h2t"),
    "full": partial(OrientedCalibration, gate="full"),
}
REGULARISERS: dict[str, Callable[..., Regulariser]] = {"cbdm": CBDM}


def make_objective(name: str, *, class_counts: Tensor, settings: dict[str, dict[str, Any]]) -> Objective:
    """The objective a name spells, such as "ddpm", "cbdm" or "t2h+cbdm".

    Args:
        class_counts: (K,) training images per class.
        settings: keyword arguments of each regulariser, by its name.

    Raises:
        OptionError: an unknown term, a term twice, or two target rules.
    """
    parts = name.split("+")
    for part in parts:
        if part not in TARGETS and part not in REGULARISERS:
            raise OptionError(f"--objective {name!r}: unknown term {part!r}; {nearest(part, [*TARGETS, *REGULARISERS])}")
    if len(set(parts)) < len(parts):
        raise OptionError(f"--objective {name!r} names a term twice; name each once")
    targets = [p for p in parts if p in TARGETS]
    if len(targets) > 1:
        raise OptionError(f"--objective {name!r} has {len(targets)} target rules; keep one of {', '.join(targets)}")
    regularisers = {p: REGULARISERS[p](class_counts, **settings.get(p, {})) for p in parts if p in REGULARISERS}
    return Objective(TARGETS[targets[0] if targets else "ddpm"](class_counts), regularisers)
