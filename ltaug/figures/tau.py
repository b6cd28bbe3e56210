"""Tau sweep: evaluations of generators that differ in nothing but the strength of their class-balancing term."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ltaug.errors import MismatchError, OptionError
from ltaug.figures.evaluations import MEASURED, SAMPLED, Evaluation, require_alike, terms_of, unlike
from ltaug.figures.subject import tau_of
from ltaug.figures.sweep import Point, draw_sweep
from ltaug.figures.table import Drawn
from ltaug.options import GeneratorOptions

OF_CBDM = tuple(f.name for f in dataclasses.fields(GeneratorOptions) if "cbdm" in f.metadata["owner"].get("objective", ()))


def points_of(evaluations: Sequence[Evaluation]) -> list[Point]:
    """Each evaluation at its generator's tau; an objective without the class-balancing term is tau = 0, as by its formula.

    Raises:
        OptionError: fewer than two values of tau.
        MismatchError: not measured or sampled alike, generators that differ in more than tau, or one tau and seed twice.
    """
    require_alike(evaluations, keys=(*MEASURED, *SAMPLED))
    taus = [tau_of(e.generator.options) or 0.0 for e in evaluations]
    if len(set(taus)) < 2:
        only = f"{taus[0]:g}" if taus else "none"
        raise OptionError(f"a tau sweep needs generators of at least two values of tau; these have {only}")
    _require_same_fit(evaluations)
    seen: dict[tuple[float, int], Evaluation] = {}
    for tau, e in zip(taus, evaluations, strict=True):
        twin = seen.setdefault((tau, e.seed), e)
        if twin is not e:
            raise MismatchError(f"{twin.path} and {e.path} both evaluate tau {tau:g} at seed {e.seed}; give one of them")
    return [Point(tau, e.seed, e.summary) for tau, e in zip(taus, evaluations, strict=True)]


def draw_tau(evaluations: Sequence[Evaluation]) -> Drawn:
    """See sweep.draw_sweep."""
    return draw_sweep(
        points_of(evaluations),
        setting="tau",
        axis_name="tau, strength of the class-balancing term (0: without it)",
        extractor=str(evaluations[0].provenance["extractor"]),
        terms=terms_of(evaluations[0]),
    )


def _require_same_fit(evaluations: Sequence[Evaluation]) -> None:
    """Compare every generator with the first, and those with the class-balancing term in that term's options too."""
    firsts: dict[bool, Evaluation] = {}
    for e in evaluations:
        balanced = tau_of(e.generator.options) is not None
        for first in (evaluations[0], firsts.setdefault(balanced, e)):
            both = balanced and tau_of(first.generator.options) is not None
            found = unlike(_but_tau(first, with_term=both), _but_tau(e, with_term=both), names=(first.path, e.path))
            if found:
                raise MismatchError(f"these generators differ in more than tau ({found}); a tau sweep varies nothing else")


def _but_tau(evaluation: Evaluation, *, with_term: bool) -> Mapping[str, Any]:
    """What a generator was fitted with, without tau; without its class-balancing term unless `with_term`."""
    left_out = ("tau",) if with_term else OF_CBDM
    made = evaluation.generator
    terms = [t for t in made.options.objective.split("+") if t not in ("cbdm", "ddpm")]
    return {
        **{f"dataset.{key}": value for key, value in dataclasses.asdict(made.dataset).items()},
        "steps of the generator it was started from": made.steps_before,
        **{key: value for key, value in dataclasses.asdict(made.options).items() if key not in left_out},
        "objective": "+".join(terms) or "ddpm",
    }
