"""Figures as SVG text: data in, a string that can stand inside an HTML page out; the same data gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ltaug import drawing
from ltaug.drawing import TICKS, WIDTH
from ltaug.report.statistics import Paired

BASELINE, SYNTHETIC, CHEAP = drawing.GREY, drawing.BLUE, drawing.ORANGE
COLOURS = {"baseline": BASELINE, "with synthesis": SYNTHETIC, "without synthesis": CHEAP}
MARKERS = {"baseline": "s", "with synthesis": "o", "without synthesis": "D"}
CELLS = 12  # classes up to which a matrix prints its numbers


def forest(arms: Sequence[tuple[str, str]], panels: Mapping[str, Sequence[Paired]], *, name: str, alt: str) -> str:
    """Paired differences with their intervals, one row an arm and one panel a metric.

    Args:
        arms: (label, kind) per row, kind being a key of COLOURS.
        panels: title -> one difference per arm.
        name: prefix of the ids in the SVG, unique on the page.
        alt: what the figure shows, for those who cannot see it.
    """
    with drawing.style():
        figure = Figure(figsize=(WIDTH, 1.15 + 0.34 * len(arms)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, differences) in zip(axes, panels.items(), strict=True):
            axis.axvline(0, color=BASELINE, linewidth=1)
            for row, ((_, kind), d) in enumerate(zip(arms, differences, strict=True)):
                if d.mean is None:
                    continue
                if d.low is not None and d.high is not None:
                    axis.plot([d.low, d.high], [row, row], color=COLOURS[kind], linewidth=2, solid_capstyle="butt")
                axis.plot(d.mean, row, MARKERS[kind], color=COLOURS[kind], markersize=6)
            axis.set_title(title)
            axis.grid(axis="x")
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
            axis.set_xlabel("difference from the baseline")
            axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        axes[0].set_yticks(range(len(arms)), [label for label, _ in arms])
        axes[0].set_ylim(len(arms) - 0.4, -0.6)
        kinds = [kind for kind in COLOURS if any(k == kind for _, k in arms)]
        drawing.legend(figure, [Line2D([], [], color=COLOURS[k], marker=MARKERS[k], linewidth=2, label=k) for k in kinds])
        return drawing.svg(figure, name, alt)


def counts(
    labels: Sequence[str], real: Sequence[float], synthetic: Sequence[float] | None, *, axis_name: str, name: str, alt: str
) -> str:
    """Images per class as bars, real below and synthetic stacked on top."""
    with drawing.style():
        figure = Figure(figsize=(WIDTH, drawing.height(2.9, labels)), layout="constrained")
        axis = figure.subplots()
        x = np.arange(len(labels))
        real_bars = axis.bar(x, real, color=BASELINE, width=0.8, label="real")
        handles = [real_bars]
        if synthetic is not None:
            handles.append(axis.bar(x, synthetic, bottom=real, color=SYNTHETIC, width=0.8, alpha=0.85, label="synthetic"))
        if len(labels) <= 2 * CELLS:
            tops = np.add(real, synthetic) if synthetic is not None else np.asarray(real)
            for i, (n, top) in enumerate(zip(real, tops, strict=True)):
                axis.annotate(f"{n:.0f}", (i, top), (0, 2), textcoords="offset points", ha="center", color=BASELINE, fontsize=8)
        drawing.class_axis(axis, labels, axis_name)
        axis.set_ylabel("training images")
        axis.grid(axis="y")
        axis.margins(y=0.1)
        drawing.legend(figure, handles)
        return drawing.svg(figure, name, alt)


def per_class(
    labels: Sequence[str],
    series: Mapping[str, tuple[str, Sequence[float | None]]],
    *,
    measure: str = "recall",
    share: bool = True,
    axis_name: str,
    name: str,
    alt: str,
) -> str:
    """One measure per class for a few arms.

    Args:
        series: legend -> (kind, one value per class).
        share: whether the measure runs from 0 to 1; otherwise it runs from 0.
    """
    with drawing.style():
        figure = Figure(figsize=(WIDTH, drawing.height(3.3, labels)), layout="constrained")
        axis = figure.subplots()
        size = 6.0 if len(labels) <= TICKS else 2.5
        handles = []
        for legend, (kind, values) in series.items():
            y = [math.nan if v is None else v for v in values]
            colour, marker = COLOURS[kind], MARKERS[kind]
            handles += axis.plot(range(len(labels)), y, color=colour, marker=marker, markersize=size, linewidth=1.1, label=legend)
        drawing.class_axis(axis, labels, axis_name)
        top = max((v for _, values in series.values() for v in values if v is not None), default=1.0)
        axis.set_ylim(*((-0.03, 1.03) if share else (0, 1.06 * top or 1)))
        axis.set_ylabel(measure)
        axis.grid(axis="y")
        drawing.legend(figure, handles)
        return drawing.svg(figure, name, alt)


def confusion(class_names: Sequence[str], matrix: Sequence[Sequence[float]], *, name: str, alt: str) -> str:
    """A change in shares as a heat map: blue cells grew, orange cells shrank."""
    with drawing.style():
        values = np.asarray(matrix, float)
        n = len(class_names)
        figure = Figure(figsize=(7.2, 5.9) if n <= CELLS else (9.6, 8.2), layout="constrained")
        axis = figure.subplots()
        limit = max(float(np.abs(values).max()), 0.01)
        ramp = matplotlib.colors.LinearSegmentedColormap.from_list("change", [CHEAP, "#ffffff", SYNTHETIC])
        image = axis.imshow(values, cmap=ramp, vmin=-limit, vmax=limit)
        every = math.ceil(n / TICKS)
        shown = list(range(0, n, every))
        names = [drawing.short(class_names[i]) for i in shown]
        axis.set_xticks(shown, names, rotation=90 if max(map(len, names)) > 3 else 0)
        axis.set_yticks(shown, names)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
        axis.set_xlabel("read as")
        axis.set_ylabel("true class")
        if n <= CELLS:
            for i, j in np.ndindex(n, n):
                points = round(100 * float(values[i, j]))
                if points:
                    colour = "white" if abs(values[i, j]) > 0.6 * limit else "#20242a"
                    axis.text(j, i, _points(points), ha="center", va="center", fontsize=8, color=colour)
        bar = figure.colorbar(image, ax=axis, shrink=0.7, format=lambda v, _: _points(100 * v))
        bar.set_label("change in percentage points")
        bar.outline.set_visible(False)
        return drawing.svg(figure, name, alt)


def _points(value: float) -> str:
    return "0" if round(value) == 0 else f"{value:+.0f}".replace("-", "−")
