"""Objectives by name; `cbdm` is short for `ddpm+cbdm`, and terms combine with +."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ltaug.errors import OptionError
from ltaug.fields import settings_of
from ltaug.generator.objectives.terms import Judged, Objective
from ltaug.methods import REGULARISERS, TARGETS, judged_terms, terms_of
from ltaug.options import GeneratorOptions


def make_objective(
    options: GeneratorOptions, *, class_counts: Tensor, feature_channels: int, judged: Judged | None = None
) -> Objective:
    """The objective that options.objective spells, such as "ddpm", "cbdm" or "t2h+cbdm", each term with its own options.

    Args:
        class_counts: (K,) training images per class.
        feature_channels: of the backbone's bottleneck.
        judged: for terms that need judges (options.fit_judges_needed).

    Raises:
        OptionError: an unknown term, a term twice, or two target rules.
    """
    terms = terms_of(options.objective)
    target = next((t for t in terms if t in TARGETS), "ddpm")
    own: dict[str, dict[str, Any]] = {t: settings_of(options, "objective", t) for t in terms}
    for term in judged_terms(options.objective):
        assert judged is not None, f"{term} needs judges"
        own[term]["judged"] = judged
    regularisers = {t: REGULARISERS[t](class_counts, feature_channels, **own[t]) for t in terms if t in REGULARISERS}
    return Objective(TARGETS[target](class_counts, **own.get(target, {})), regularisers)


def require_whole_batches(options: GeneratorOptions, micro_batch: int | None, *, images: int) -> None:
    """Raise OptionError for micro-batches where a term compares the images of a batch, of which a process has `images`."""
    terms = [t for t in terms_of(options.objective) if t in REGULARISERS]
    comparing = [t for t in terms if REGULARISERS.about(t).compares]
    if comparing and micro_batch is not None and micro_batch < images:
        raise OptionError(
            f"--micro-batch {micro_batch} does not go with --objective {options.objective}: {comparing[0]} compares the "
            f"images of a batch with each other; use --checkpoint-activations to save memory, or leave out {comparing[0]}"
        )
