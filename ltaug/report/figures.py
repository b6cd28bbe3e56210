"""Figures as SVG text: data in, a string that can stand inside an HTML page out; the same data gives the same bytes."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ltaug.report.statistics import Paired

# Okabe and Ito's colours, which stay apart for colour-blind readers; markers differ as well, for print.
BASELINE, SYNTHETIC, CHEAP = "#4d5561", "#0072b2", "#d55e00"
COLOURS = {"baseline": BASELINE, "with synthesis": SYNTHETIC, "without synthesis": CHEAP}
MARKERS = {"baseline": "s", "with synthesis": "o", "without synthesis": "D"}
WIDTH = 11.0  # inches; the page scales it
TICKS = 25  # labels on an axis at most
LONGEST = 18  # characters of a label
CELLS = 12  # classes up to which a matrix prints its numbers
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": "#3a414b",
    "xtick.color": "#3a414b",
    "ytick.color": "#3a414b",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "svg.fonttype": "path",
    "svg.hashsalt": "ltaug",
    "axes.unicode_minus": True,
}


def forest(arms: Sequence[tuple[str, str]], panels: Mapping[str, Sequence[Paired]], *, name: str, alt: str) -> str:
    """Paired differences with their intervals, one row an arm and one panel a metric.

    Args:
        arms: (label, kind) per row, kind being a key of COLOURS.
        panels: title -> one difference per arm.
        name: prefix of the ids in the SVG, unique on the page.
        alt: what the figure shows, for those who cannot see it.
    """
    with matplotlib.rc_context(_STYLE):
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
        _legend(figure, [Line2D([], [], color=COLOURS[k], marker=MARKERS[k], linewidth=2, label=k) for k in kinds])
        return _svg(figure, name, alt)


def counts(
    labels: Sequence[str], real: Sequence[float], synthetic: Sequence[float] | None, *, axis_name: str, name: str, alt: str
) -> str:
    """Images per class as bars, real below and synthetic stacked on top."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, _height(2.9, labels)), layout="constrained")
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
        _class_axis(axis, labels, axis_name)
        axis.set_ylabel("training images")
        axis.grid(axis="y")
        axis.margins(y=0.1)
        _legend(figure, handles)
        return _svg(figure, name, alt)


def per_class(
    labels: Sequence[str], series: Mapping[str, tuple[str, Sequence[float | None]]], *, axis_name: str, name: str, alt: str
) -> str:
    """One measure per class for a few arms.

    Args:
        series: legend -> (kind, one value per class).
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, _height(3.3, labels)), layout="constrained")
        axis = figure.subplots()
        size = 6.0 if len(labels) <= TICKS else 2.5
        handles = []
        for legend, (kind, values) in series.items():
            y = [math.nan if v is None else v for v in values]
            colour, marker = COLOURS[kind], MARKERS[kind]
            handles += axis.plot(range(len(labels)), y, color=colour, marker=marker, markersize=size, linewidth=1.1, label=legend)
        _class_axis(axis, labels, axis_name)
        axis.set_ylim(-0.03, 1.03)
        axis.set_ylabel("recall")
        axis.grid(axis="y")
        _legend(figure, handles)
        return _svg(figure, name, alt)


def confusion(class_names: Sequence[str], matrix: Sequence[Sequence[float]], *, name: str, alt: str) -> str:
    """A change in shares as a heat map: blue cells grew, orange cells shrank."""
    with matplotlib.rc_context(_STYLE):
        values = np.asarray(matrix, float)
        n = len(class_names)
        figure = Figure(figsize=(7.2, 5.9) if n <= CELLS else (9.6, 8.2), layout="constrained")
        axis = figure.subplots()
        limit = max(float(np.abs(values).max()), 0.01)
        ramp = matplotlib.colors.LinearSegmentedColormap.from_list("change", [CHEAP, "#ffffff", SYNTHETIC])
        image = axis.imshow(values, cmap=ramp, vmin=-limit, vmax=limit)
        every = math.ceil(n / TICKS)
        shown = list(range(0, n, every))
        names = [_short(class_names[i]) for i in shown]
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
        return _svg(figure, name, alt)


def _points(value: float) -> str:
    return "0" if round(value) == 0 else f"{value:+.0f}".replace("-", "−")


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _turned(labels: Sequence[str]) -> bool:
    """Whether labels are too long to stand side by side."""
    return len(labels) <= TICKS and max(len(_short(label)) for label in labels) > 110 / len(labels)


def _height(base: float, labels: Sequence[str]) -> float:
    """`base` inches, and what turned labels need below the axis."""
    return base + (0.075 * max(len(_short(label)) for label in labels) if _turned(labels) else 0)


def _class_axis(axis: Any, labels: Sequence[str], axis_name: str) -> None:
    """Class labels that never overlap: shortened and turned when long, replaced by ranks when many."""
    if len(labels) <= TICKS:
        axis.set_xticks(range(len(labels)), [_short(label) for label in labels], rotation=90 if _turned(labels) else 0)
        axis.set_xlabel(axis_name)
    else:
        shown = [0, *range(9, len(labels), 10 * math.ceil(len(labels) / 250))]
        axis.set_xticks(shown, [str(i + 1) for i in shown])
        axis.set_xlabel("frequency rank of the class")
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.7, len(labels) - 0.3)


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    figure.legend(handles=handles, loc="outside upper left", ncols=max(1, len(handles)), frameon=False)


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure's <svg> element with ids of its own, a title for screen readers and no fixed size."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    size = re.search(r'<svg[^>]*?width="([\d.]+)pt"', text)
    assert size is not None, "matplotlib gives its figures a width in points"
    pixels = float(size.group(1)) * 4 / 3
    width = f' style="max-width:{pixels:.0f}px;min-width:{0.7 * pixels:.0f}px"'
    text = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', rf'\1{width} role="img" aria-labelledby="{name}-title"', text, count=1)
    head, rest = text.split(">", 1)
    return f'{head}><title id="{name}-title">{html.escape(alt)}</title>{rest}'
