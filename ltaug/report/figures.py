"""The report's figures as SVG text that can stand inside an HTML page; the same data gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ltaug import drawing
from ltaug.drawing import TICKS, WIDTH
from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable, ConfusionChange
from ltaug.report.generators import GeneratorTable
from ltaug.report.statistics import Paired
from ltaug.report.wording import several

BASELINE, SYNTHETIC, CHEAP = drawing.GREY, drawing.BLUE, drawing.ORANGE
COLOURS = {"baseline": BASELINE, "with synthesis": SYNTHETIC, "without synthesis": CHEAP}
MARKERS = {"baseline": "s", "with synthesis": "o", "without synthesis": "D"}
AXIS = {"class": "class, most frequent first", "rank": "frequency rank of the class in its seed"}
FID = "FID of the class"
CELLS = 12  # classes up to which a matrix prints its numbers


def kind_of(scores: Scores, arm: str) -> str:
    """How the arm is drawn and listed: baseline, with synthesis or without synthesis."""
    return "baseline" if arm == scores.baseline else "with synthesis" if arm in scores.synthetic else "without synthesis"


def draw(
    scores: Scores, classes: ClassTable, change: ConfusionChange | None, shown: Mapping[str, str], headline: Mapping[str, str]
) -> dict[str, str]:
    """Every figure the data allows, by name."""
    found: dict[str, str] = {}
    others = [arm for arm in scores.order if arm != scores.baseline]
    if others:
        panels = {name: [scores.paired(a, scores.baseline, key) for a in others] for key, name in list(headline.items())[:2]}
        rows = [(arm, kind_of(scores, arm)) for arm in others]
        alt = f"Paired differences of {several(others)} from {scores.baseline} with their intervals, as in the table above."
        found["forest"] = forest(rows, panels, name="forest", alt=alt)
    featured = shown.get("featured", "")
    axis_name = AXIS[classes.by]
    alt = f"Training images per {classes.by}, from {max(classes.counts):.0f} to {min(classes.counts):.0f} real ones."
    made = classes.synthetic_counts.get(featured)
    found["counts"] = counts(classes.labels, classes.counts, made, axis_name=axis_name, name="counts", alt=alt)
    recall = classes.measures.get("recall", {})
    roles = ("baseline", "featured" if featured else "best_with", "best_without")
    chosen = [shown[role] for role in roles if shown.get(role) in recall]
    if recall:
        series = {arm: (kind_of(scores, arm), recall[arm]) for arm in chosen}
        alt = f"Recall per {classes.by} of {several(list(series))}."
        found["recall"] = per_class(classes.labels, series, axis_name=axis_name, name="recall", alt=alt)
    if change is not None:
        alt = f"Change in the share of each true class read as each class, {change.arm} minus {change.other}."
        found["confusion"] = confusion(change.class_names, change.matrix, name="confusion", alt=alt)
    return found


def draw_generators(tables: Sequence[GeneratorTable]) -> dict[str, str]:
    """For every table with an FID per class, its figure, as class-fid-0 and so on."""
    found: dict[str, str] = {}
    for i, table in enumerate(tables):
        if table.curve is None:
            continue
        series = {
            name: ("baseline" if name == table.compared_with else "with synthesis", values)
            for name, values in table.curve.series.items()
        }
        alt = f"FID per {table.curve.by} of {several(list(series))}, in {table.terms['extractor']} features."
        name, axis_name = f"class-fid-{i}", AXIS[table.curve.by]
        found[name] = per_class(table.curve.labels, series, FID, axis_name=axis_name, name=name, alt=alt)
    return found


def forest(arms: Sequence[tuple[str, str]], panels: Mapping[str, Sequence[Paired]], *, name: str, alt: str) -> str:
    """Paired differences with their intervals: a row for each arm (label, kind), a panel for each metric (title -> differences).

    As in every figure, `name` is a prefix of the ids in the SVG, unique on the page, and `alt` says what it shows.
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
        handles = [axis.bar(x, real, color=BASELINE, width=0.8, label="real")]
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
    measure: str = "recall",
    *,
    axis_name: str,
    name: str,
    alt: str,
) -> str:
    """One measure per class for a few arms, from 0 to 1, and FID from 0; `series` is legend -> (kind, one value per class)."""
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
        axis.set_ylim(*((0, 1.06 * top or 1) if measure == FID else (-0.03, 1.03)))
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
        shown = range(0, n, math.ceil(n / TICKS))
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
