"""Quality against one setting, tau or guidance: mean and spread over seeds, a panel a measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from ltaug import drawing
from ltaug.figures.evaluations import title_of
from ltaug.figures.table import FIGURE_CSV, FIGURE_SVG, Drawn, to_csv
from ltaug.metrics.measures import shown_in

POINTS_CSV = "points.csv"


@dataclass(frozen=True)
class Point:
    """One evaluation at one value of the setting."""

    x: float
    seed: int
    summary: Mapping[str, float | None]


@dataclass(frozen=True)
class Level:
    """One measure at one value of the setting.

    Attributes:
        values: seed -> what was measured, without seeds where it could not be.
        missing: seeds where it could not be measured.
    """

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


def levels_of(points: Sequence[Point]) -> list[Level]:
    """Every measure at every value of the setting, in the measures' order and then ascending."""
    measures = dict.fromkeys(key for point in points for key in point.summary)
    found = []
    for measure in measures:
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
    columns = 2
    rows = math.ceil(len(panels) / columns)
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
    xs = [v.x for v in measured]
    several = [v for v in measured if v.sd is not None]
    for v in several:
        axis.plot([v.x] * len(v.values), list(v.values.values()), "o", color=colour, alpha=0.35, markersize=8, markeredgewidth=0)
    axis.plot(xs, [v.mean for v in measured], color=colour, marker=marker, markersize=6, linewidth=1.4)
    if several:
        means, spreads = [v.mean for v in several], [v.sd for v in several]
        axis.errorbar([v.x for v in several], means, spreads, fmt="none", ecolor=colour, elinewidth=1.4, capsize=4)
    axis.set_xticks(sorted({v.x for v in levels}), [f"{x:g}" for x in sorted({v.x for v in levels})])
    axis.grid(axis="y")
    axis.margins(x=0.08, y=0.15)
