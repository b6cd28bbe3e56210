"""How figures look and how they are written: SVG text that can stand inside an HTML page; same data, same bytes.

    with drawing.style():
        figure = Figure(figsize=(drawing.WIDTH, 3), layout="constrained")
        ...
        return drawing.svg(figure, name="recall", alt="Recall per class")

No function touches pyplot, whose figures are global: matplotlib's own Figure is, and the style ends with its block.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's colours, which stay apart for colour-blind readers, and a grey; give markers too, for print.
GREY, BLUE, ORANGE = "#4d5561", "#0072b2", "#d55e00"
GREEN, PINK, SKY, AMBER = "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, GREY)
MARKERS = ("o", "D", "s", "^", "v", "P", "X")
WIDTH = 11.0  # inches; the page scales it
TICKS = 25  # labels on an axis at most
LONGEST = 18  # characters of a label
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


def style() -> AbstractContextManager[None]:
    """Figures made, drawn and saved inside this block look like all others."""
    return matplotlib.rc_context(_STYLE)


def short(label: str) -> str:
    """A label of at most LONGEST characters."""
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _turned(labels: Sequence[str], width: float) -> bool:
    """Whether labels are too long to stand side by side in a figure this wide."""
    return len(labels) <= TICKS and max(len(short(label)) for label in labels) > 10 * width / len(labels)


def height(base: float, labels: Sequence[str], width: float = WIDTH) -> float:
    """`base` inches, and what turned labels need below the axis."""
    return base + (0.075 * max(len(short(label)) for label in labels) if _turned(labels, width) else 0)


def class_axis(axis: Any, labels: Sequence[str], axis_name: str, width: float = WIDTH) -> None:
    """Class labels that never overlap: shortened and turned when long, replaced by ranks when many."""
    if len(labels) <= TICKS:
        axis.set_xticks(range(len(labels)), [short(label) for label in labels], rotation=90 if _turned(labels, width) else 0)
        axis.set_xlabel(axis_name)
    else:
        shown = [0, *range(9, len(labels), 10 * math.ceil(len(labels) / 250))]
        axis.set_xticks(shown, [str(i + 1) for i in shown])
        axis.set_xlabel("frequency rank of the class")
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.7, len(labels) - 0.3)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Above the axes, clear of the data; six to a line."""
    figure.legend(handles=handles, loc="outside upper left", ncols=min(6, max(1, len(handles))), frameon=False)


def svg(figure: Figure, name: str, alt: str) -> str:
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
