"""Objectives by name; `cbdm` is short for `ddpm+cbdm`, and terms combine with +."""

from __future__ import annotations

from torch import Tensor

from ltaug.fields import settings_of
from ltaug.generator.objectives.terms import Objective
from ltaug.methods import REGULARISERS, TARGETS, terms_of
from ltaug.options import GeneratorOptions


def make_objective(options: GeneratorOptions, *, class_counts: Tensor, feature_channels: int) -> Objective:
    """The objective that options.objective spells, such as "ddpm", "cbdm" or "t2h+cbdm", each term with its own options.

    Args:
        class_counts: (K,) training images per class.
        feature_channels: of the backbone's bottleneck.

    Raises:
        OptionError: an unknown term, a term twice, or two target rules.
    """
    terms = terms_of(options.objective)
    target = next((t for t in terms if t in TARGETS), "ddpm")
    own = {t: settings_of(options, "objective", t) for t in terms}
    regularisers = {t: REGULARISERS[t](class_counts, feature_channels, **own[t]) for t in terms if t in REGULARISERS}
    return Objective(TARGETS[target](class_counts, **own.get(target, {})), regularisers)
