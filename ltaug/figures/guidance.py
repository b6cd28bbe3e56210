"""Guidance sweep: one generator evaluated at several strengths, from the same noise at every one."""

from __future__ import annotations

from collections.abc import Sequence

from ltaug.figures.evaluations import MEASURED, Evaluation, require_alike, terms_of
from ltaug.figures.sweep import Point, draw_sweep
from ltaug.figures.table import Drawn


def draw_guidance(evaluations: Sequence[Evaluation]) -> Drawn:
    """See sweep.draw_sweep.

    Raises:
        MismatchError: not measured alike, or not from the same noise.
    """
    require_alike(evaluations, keys=(*MEASURED, "sampler", "sample_steps", "seed"))
    return draw_sweep(
        [Point(float(e.provenance["guidance"]), e.seed, e.summary) for e in evaluations],
        setting="guidance",
        axis_name="guidance strength w (0: plain conditional)",
        extractor=str(evaluations[0].provenance["extractor"]),
        terms=f"{evaluations[0].name}: {terms_of(evaluations[0])}",
    )
