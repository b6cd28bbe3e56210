"""Objectives by name; `cbdm` is short for `ddpm+cbdm`, and terms combine with +."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from ltaug.errors import OptionError
from ltaug.generator.objectives.cbdm import CBDM
from ltaug.generator.objectives.coral import CORAL
from ltaug.generator.objectives.ddpm import plain_target
from ltaug.generator.objectives.t2h import OrientedCalibration
from ltaug.generator.objectives.terms import Comparison, Objective, Regulariser, TargetRule
from ltaug.options import GeneratorOptions, nearest

# name -> factory(class_counts)
TARGETS: dict[str, Callable[[Tensor], TargetRule]] = {
    "ddpm": lambda class_counts: plain_target,
    "t2h": partial(OrientedCalibration, gate="t2h"),
    "h2t": partial(OrientedCalibration, gate="h2t"),
    "full": partial(OrientedCalibration, gate="full"),
}
# name -> factory(class_counts, feature_channels, **settings)
REGULARISERS: dict[str, Callable[..., Regulariser | Comparison]] = {
    "cbdm": lambda class_counts, feature_channels, **settings: CBDM(class_counts, **settings),
    "coral": lambda class_counts, feature_channels, **settings: CORAL(feature_channels, **settings),
}


def terms_of(name: str) -> list[str]:
    """The terms that an objective's name spells, such as ["t2h", "cbdm"] for "t2h+cbdm".

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
    return parts


def settings_of(options: GeneratorOptions) -> dict[str, dict[str, Any]]:
    """The keyword arguments of each term of options.objective, by its name.

    Raises:
        OptionError: the objective does not exist, or an option was set whose term it does not name.
    """
    terms = terms_of(options.objective)
    settings: dict[str, dict[str, Any]] = {}
    for f in dataclasses.fields(options):
        term, value = f.metadata["term"], getattr(options, f.name)
        if term in terms:
            settings.setdefault(term, {})[f.name.removeprefix(f"{term}_")] = value
        elif term and value != f.default:
            flag = f.name.replace("_", "-")
            raise OptionError(
                f"--{flag} {value} belongs to {term}, which --objective {options.objective!r} does not name; "
                f"leave it at {f.default} or use --objective {options.objective}+{term}"
            )
    return settings


def make_objective(
    name: str, *, class_counts: Tensor, feature_channels: int, settings: Mapping[str, Mapping[str, Any]]
) -> Objective:
    """The objective a name spells, such as "ddpm", "cbdm" or "t2h+cbdm".

    Args:
        class_counts: (K,) training images per class.
        feature_channels: of the backbone's bottleneck.
        settings: keyword arguments of each regulariser, by its name.

    Raises:
        OptionError: an unknown term, a term twice, or two target rules.
    """
    terms = terms_of(name)
    target = next((t for t in terms if t in TARGETS), "ddpm")
    regularisers = {t: REGULARISERS[t](class_counts, feature_channels, **settings.get(t, {})) for t in terms if t in REGULARISERS}
    return Objective(TARGETS[target](class_counts), regularisers)
