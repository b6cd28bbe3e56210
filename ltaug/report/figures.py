"""The report's figures as SVG text that can stand inside an HTML page; the same data gives the same bytes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ltaug import drawing
from ltaug.drawing import TICKS, WIDTH
from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable, ConfusionChange
from ltaug.report.decision import MARGIN, Standing
from ltaug.report.generators import GeneratorTable
from ltaug.report.wording import metric_name, several, signed

BASELINE, SYNTHETIC, CHEAP = drawing.GREY, drawing.BLUE, drawing.ORANGE
COLOURS = {"baseline": BASELINE, "without synthesis": CHEAP, "control": drawing.AMBER, "with synthesis": SYNTHETIC}
MARKERS = {"baseline": "s", "without synthesis": "D", "control": "^", "with synthesis": "o"}
INK, LINE = "#3a414b", "#9aa1ab"
HALF = 5.4  # inches: two figures beside each other, and one on a telephone
WRAPPED = 24  # characters of an arm's name in a line
AXIS = {"class": "class, most frequent first", "rank": "frequency rank of the class in its seed"}
CELLS = 12  # classes up to which a matrix prints its numbers


def kind_of(scores: Scores, arm: str) -> str:
    """How the arm is drawn and listed: with synthesis, baseline, control (real images resampled) or without synthesis."""
    if arm in scores.synthetic:
        return "with synthesis"
    return "baseline" if arm == scores.baseline else "control" if arm in scores.controls.values() else "without synthesis"


def draw(
    scores: Scores,
    classes: ClassTable,
    change: ConfusionChange | None,
    standing: Standing | None,
    compared: str | None,
    featured: str | None,
) -> dict[str, str]:
    """Every figure the data allows, by name: `compared` is drawn against the baseline, `featured` has synthetic images."""
    found: dict[str, str] = {}
    if standing is not None and standing.against:
        kinds = {arm: kind_of(scores, arm) for arm in scores.order}
        found["standing"] = standing_of(standing, kinds, name="standing", alt=f"Every arm against {standing.reference}.")
    axis_name = AXIS[classes.by]
    alt = f"Training images per {classes.by}, from {max(classes.counts):.0f} to {min(classes.counts):.0f} real ones."
    made = classes.synthetic_counts.get(featured or "")
    found["counts"] = counts(classes.labels, classes.counts, made, axis_name=axis_name, name="counts", alt=alt)
    for measure, by_arm in classes.changes.items():
        if compared is not None and compared in by_arm:
            pair = {arm: classes.measures[measure][arm] for arm in (scores.baseline, compared)}
            alt = f"{measure.capitalize()} per {classes.by} of {several(list(pair))}."
            found[measure] = before_after(
                classes.labels, classes.groups, pair, measure, axis_name=axis_name, name=measure, alt=alt
            )
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
        found[name] = class_fid(table.curve.labels, series, axis_name=axis_name, name=name, alt=alt)
    return found


def standing_of(standing: Standing, kinds: Mapping[str, str], *, name: str, alt: str) -> str:
    """Every arm less the reference, with its interval and the margin shaded; a row an arm, by kind and then from best to worst.

    As in every figure, `name` is a prefix of the ids in the SVG, unique on the page, and `alt` says what it shows.
    """
    means = {arm: found.mean for arm, found in standing.against.items() if found.mean is not None} | {standing.reference: 0.0}
    groups = [sorted((a for a in means if kinds[a] == kind), key=lambda a: -means[a]) for kind in COLOURS]
    rows = [arm for group in groups for arm in group]
    labels = [textwrap.fill(f"{arm}{' (reference)' if arm == standing.reference else ''}", WRAPPED) for arm in rows]
    heights = [0.3 + 0.14 * label.count("\n") for label in labels]  # inches
    places = np.cumsum(heights) - np.array(heights) / 2
    with drawing.style():
        figure = Figure(figsize=(HALF, 1.0 + sum(heights)), layout="constrained")
        axis = figure.subplots()
        band = axis.axvspan(-MARGIN, MARGIN, color=BASELINE, alpha=0.13, linewidth=0, label=f"within {MARGIN:g}: no difference")
        axis.axvline(0, color=BASELINE, linewidth=1)
        for row, arm in zip(places, rows, strict=True):
            found, colour = standing.against.get(arm), COLOURS[kinds[arm]]
            if found is not None and found.low is not None and found.high is not None:
                axis.plot([found.low, found.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            filled = found is None or (found.low is not None and found.high is not None and not found.low <= 0 <= found.high)
            axis.plot(means[arm], row, MARKERS[kinds[arm]], color=colour, markersize=6, mfc=colour if filled else "white")
            text = signed(means[arm]) if found is not None else ""
            axis.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=INK)
        axis.set_yticks(places, labels, fontsize=8.5)
        axis.set_ylim(sum(heights), 0)
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel(f"{metric_name(standing.metric)}, difference from the reference")
        axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        used = [kind for kind, group in zip(COLOURS, groups, strict=True) if group]
        handles = [Line2D([], [], color=COLOURS[k], marker=MARKERS[k], linewidth=2, label=k) for k in used]
        figure.legend(handles=[*handles, band], loc="outside upper left", ncols=3, frameon=False, fontsize=8.5)
        return drawing.svg(figure, name, alt)


def before_after(
    labels: Sequence[str],
    groups: Sequence[str],
    pair: Mapping[str, Sequence[float | None]],
    measure: str,
    *,
    axis_name: str,
    name: str,
    alt: str,
) -> str:
    """A measure of each class, from 0 to 1, in two arms (arm -> values): a line from before to after, coloured by its way."""
    with drawing.style():
        figure = Figure(figsize=(HALF, drawing.height(3.1, labels, HALF)), layout="constrained")
        axis = figure.subplots()
        x = np.arange(len(labels))
        before, after = (np.array([math.nan if v is None else v for v in values], float) for values in pair.values())
        few = len(labels) <= TICKS
        for way, colour in ((after >= before, SYNTHETIC), (after < before, CHEAP)):
            axis.vlines(x[way], before[way], after[way], color=colour, linewidth=2 if few else 1.2)
            axis.plot(x[way], after[way], "o", color=colour, markersize=6 if few else 2.4)
        axis.plot(x, before, "s", color=BASELINE, markersize=5 if few else 1.8, mfc="white" if few else BASELINE)
        for start in [i for i in range(1, len(groups)) if groups[i] != groups[i - 1]]:
            axis.axvline(start - 0.5, color=LINE, linewidth=1, zorder=0)
        for group in dict.fromkeys(filter(None, groups)):
            members = [i for i, own in enumerate(groups) if own == group]
            axis.annotate(group, (members[0] - 0.4, 1.07), color=INK, fontsize=8.5, va="bottom", annotation_clip=False)
        drawing.class_axis(axis, labels, axis_name, HALF)
        axis.set_ylim(-0.03, 1.06)
        axis.set_ylabel(measure)
        axis.grid(axis="y")
        first, second = pair
        handles = [
            Line2D([], [], color=BASELINE, marker="s", mfc="white", linewidth=0, label=f"before: {first}"),
            Line2D([], [], color=SYNTHETIC, marker="o", linewidth=2, label=f"after: {second}"),
            Line2D([], [], color=CHEAP, marker="o", linewidth=2, label="lower than before"),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8.5)
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


def class_fid(
    labels: Sequence[str], series: Mapping[str, tuple[str, Sequence[float | None]]], *, axis_name: str, name: str, alt: str
) -> str:
    """FID of each class for a few generators; `series` is legend -> (kind, one value per class)."""
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
        axis.set_ylim(0, 1.06 * top or 1)
        axis.set_ylabel("FID of the class")
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
        # Transparent where nothing changed, so that the picture reads on any ground.
        steps = [(0.0, CHEAP), (0.5, f"{CHEAP}00"), (0.5, f"{SYNTHETIC}00"), (1.0, SYNTHETIC)]
        ramp = matplotlib.colors.LinearSegmentedColormap.from_list("change", steps)
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
                    colour = "#fefefe" if abs(values[i, j]) > 0.6 * limit else "#20242a"
                    axis.text(j, i, _points(points), ha="center", va="center", fontsize=8, color=colour)
        bar = figure.colorbar(image, ax=axis, shrink=0.7, format=lambda v, _: _points(100 * v))
        bar.set_label("change in percentage points")
        bar.outline.set_visible(False)
        return drawing.svg(figure, name, alt)


def _points(value: float) -> str:
    return "0" if round(value) == 0 else f"{value:+.0f}".replace("-", "−")
