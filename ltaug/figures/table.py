"""What every figure hands back, and its data as CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltaug import files

FIGURE_CSV = "figure.csv"
FIGURE_PNG = "figure.png"
FIGURE_SVG = "figure.svg"
Progress = Callable[[str, int, int], None]  # what is being done, how far it is, of how many


@dataclass(frozen=True)
class Drawn:
    """A finished figure.

    Attributes:
        files: name -> content; the picture is figure.png or figure.svg, its data figure.csv.
        facts: what belongs into run.json, as JSON values.
        notes: what a person should know when reading it, one sentence each.
    """

    files: Mapping[str, bytes]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of the same keys as UTF-8 CSV; None is an empty cell, a number is written with six significant digits."""
    assert rows, "a figure shows something"
    assert all(list(row) == list(rows[0]) for row in rows)
    return files.to_csv([list(rows[0]), *(map(_cell, row.values()) for row in rows)])


def _cell(value: Any) -> Any:
    if value is None or not isinstance(value, float):
        return value
    assert math.isfinite(value), "what cannot be measured is None"
    return f"{value:.6g}"
