"""Quality against tau or guidance: evaluations that differ in nothing else, mean and spread over seeds, a panel a measure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from ltaug import drawing
from ltaug.errors import MismatchError, OptionError
from ltaug.figures.inputs import MEASURED, SAMPLED, Evaluation, require_alike, tau_of, terms_of, title_of
from ltaug.figures.table import FIGURE_CSV, FIGURE_SVG, Drawn, to_csv
from ltaug.metrics.measures import shown_in
from ltaug.options import GeneratorOptions
from ltaug.runs import differences

POINTS_CSV = "points.csv"
OF_CBDM = tuple(f.name for f in dataclasses.fields(GeneratorOptions) if "cbdm" in f.metadata["owner"].get("objective", ()))


@dataclass(frozen=True)
class Point:
    """One evaluation at one value of the setting."""

    x: float
    seed: int
    summary: Mapping[str, float | None]


@dataclass(frozen=True)
class Level:
    """One measure at one value of the setting: seed -> what was measured, and the seeds where it could not be."""

    measure: str
    x: float
    values: Mapping[int, float]
    missing: tuple[int, ...]

    @property
    def mean(self) -> float | None:
        return mean(self.values.values()) if self.values else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return stdev(self.values.values()) if len(self.values) > 1 else None


def draw_guidance(evaluations: Sequence[Evaluation]) -> Drawn:
    """One generator evaluated at several strengths.

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


def draw_tau(evaluations: Sequence[Evaluation]) -> Drawn:
    """Generators that differ in the strength of their class-balancing term; raises as `points_of` says."""
    return draw_sweep(
        points_of(evaluations),
        setting="tau",
        axis_name="tau, strength of the class-balancing term (0: without it)",
        extractor=str(evaluations[0].provenance["extractor"]),
        terms=terms_of(evaluations[0]),
    )


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


def _require_same_fit(evaluations: Sequence[Evaluation]) -> None:
    """Compare every generator with the first, and those with the class-balancing term in that term's options too."""
    firsts: dict[bool, Evaluation] = {}
    for e in evaluations:
        balanced = tau_of(e.generator.options) is not None
        for first in (evaluations[0], firsts.setdefault(balanced, e)):
            both = balanced and tau_of(first.generator.options) is not None
            fit, other = (_but_tau(one, with_term=both) for one in (first, e))
            if found := "; ".join(differences(fit, other, at=(f"in {first.path}", f"in {e.path}"))):
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


def levels_of(points: Sequence[Point]) -> list[Level]:
    """Every measure at every value of the setting, in the measures' order and then ascending."""
    found = []
    for measure in dict.fromkeys(key for point in points for key in point.summary):
        for x in sorted({p.x for p in points}):
            here = {p.seed: p.summary.get(measure) for p in points if p.x == x}
            known = {seed: value for seed, value in sorted(here.items()) if value is not None}
            found.append(Level(measure, x, known, tuple(sorted(here.keys() - known.keys()))))
    return found


def draw_sweep(points: Sequence[Point], *, setting: str, axis_name: str, extractor: str, terms: str) -> Drawn:
    """figure.svg: a panel for each measure that figures draw, as far as it was taken; figure.csv: mean and spread of all
    measures; points.csv: every evaluation's.

    Args:
        setting: the column's name, "tau" or "guidance".
        terms: how it was measured, in a line.
    """
    levels = levels_of(points)
    measures = [*shown_in("drawn"), *shown_in("drawn/few")]
    table = [
        {"measure": v.measure, setting: v.x, "mean": v.mean, "sd": v.sd, "seeds": len(v.values), "unmeasurable": len(v.missing)}
        for v in levels
    ]
    each = [
        {"measure": v.measure, setting: v.x, "seed": seed, "value": v.values.get(seed)}
        for v in levels
        for seed in sorted([*v.values, *v.missing])
    ]
    shown = {m: [v for v in levels if v.measure == m] for m in measures}
    panels = {m: rows for m, rows in shown.items() if any(v.values for v in rows)}
    empty = [title_of(m, extractor).rpartition(" (")[0] for m in measures if m not in panels]
    gaps = [f"{v.measure} at {setting} {v.x:g}" for rows in panels.values() for v in rows if v.missing]
    notes = [f"Not drawn, as no evaluation could measure it: {', '.join(empty)}."] if empty else []
    notes += [f"Not measurable for some seeds, so the mean is over the others: {', '.join(gaps)}."] if gaps else []
    svg = _svg(panels, axis_name=axis_name, setting=setting, extractor=extractor, terms=terms)
    files = {FIGURE_SVG: svg.encode(), FIGURE_CSV: to_csv(table), POINTS_CSV: to_csv(each)}
    return Drawn(files, notes=tuple(notes))


def _svg(panels: Mapping[str, Sequence[Level]], *, axis_name: str, setting: str, extractor: str, terms: str) -> str:
    rows, columns = math.ceil(len(panels) / 2), 2
    with drawing.style():
        figure = Figure(figsize=(drawing.WIDTH, 2.9 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        looks = zip(cycle(drawing.COLOURS), cycle(drawing.MARKERS), strict=False)
        for axis, (measure, levels), (colour, marker) in zip(axes, panels.items(), looks, strict=False):
            _panel(axis, levels, colour=colour, marker=marker)
            axis.set_title(title_of(measure, extractor))
            axis.set_xlabel(axis_name)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        seeds = max(len(v.values) for levels in panels.values() for v in levels)
        spread = f"; bars: standard deviation over up to {seeds} seeds, dots: seeds" if seeds > 1 else ""
        figure.suptitle(f"{terms}{spread}", x=0.01, ha="left", fontsize=9.5)
        return drawing.svg(figure, setting, f"Quality against {axis_name}: {terms}")


def _panel(axis: Any, levels: Sequence[Level], *, colour: str, marker: str) -> None:
    measured = [v for v in levels if v.mean is not None]
    several = [v for v in measured if v.sd is not None]
    for v in several:
        axis.plot([v.x] * len(v.values), list(v.values.values()), "o", color=colour, alpha=0.35, markersize=8, markeredgewidth=0)
    axis.plot([v.x for v in measured], [v.mean for v in measured], color=colour, marker=marker, markersize=6, linewidth=1.4)
    if several:
        xs, means, spreads = zip(*((v.x, v.mean, v.sd) for v in several), strict=True)
        axis.errorbar(xs, means, spreads, fmt="none", ecolor=colour, elinewidth=1.4, capsize=4)
    ticks = sorted({v.x for v in levels})
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.grid(axis="y")
    axis.margins(x=0.08, y=0.15)
