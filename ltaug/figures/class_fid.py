"""Per-class Frechet distance of one generator less another's, by how frequent the classes are (CBDM's figure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ltaug import drawing
from ltaug.data.groups import by_frequency
from ltaug.errors import MismatchError, OptionError
from ltaug.figures.inputs import Evaluation, require_alike, terms_of
from ltaug.figures.table import FIGURE_CSV, FIGURE_SVG, Drawn, to_csv
from ltaug.metrics.classes import WINDOW, moving_average

Pair = tuple[Evaluation, Evaluation]
NEARER, FARTHER = "#8cbfdf", "#eab48a"  # tints of the blue and the orange, under the curve


@dataclass(frozen=True)
class Ranked:
    """What is known of the class of one frequency rank, over pairs.

    `classes` are its names in every pair, as draws may rank classes differently; `differences` B's distances less A's, of the
    pairs where both could be measured; `first` and `second` the means of those distances, A's and B's.
    """

    classes: tuple[str, ...]
    training_images: float
    group: str
    first: float | None
    second: float | None
    differences: tuple[float, ...]

    @property
    def difference(self) -> float | None:
        return float(np.mean(self.differences)) if self.differences else None


def rank_differences(pairs: Sequence[Pair]) -> list[Ranked]:
    """Line the pairs up by frequency rank, most frequent first.

    Raises:
        MismatchError: not measured alike, a pair of two draws, or pairs of different numbers of classes.
        OptionError: no class that both of a pair could measure.
    """
    for a, b in pairs:
        require_alike([pairs[0][0], a, b])
        if a.generator.train_digest != b.generator.train_digest:
            raise MismatchError(f"{a.path} and {b.path} are of generators fitted to other images; compare generators of one draw")
        if len(a.metrics["class_names"]) != len(pairs[0][0].metrics["class_names"]):
            raise MismatchError(f"{a.path} has another number of classes than {pairs[0][0].path}; pair runs of one dataset")
    orders = [by_frequency(a.metrics["class_counts"]) for a, _ in pairs]
    ranked = [_at_rank(pairs, [order[rank] for order in orders]) for rank in range(len(orders[0]))]
    if not any(r.differences for r in ranked):
        a, b = pairs[0]
        raise OptionError(f"{a.path} and {b.path} share no class with a distance; evaluate with more --samples")
    return ranked


def _at_rank(pairs: Sequence[Pair], classes: Sequence[int]) -> Ranked:
    here = [(a.metrics, b.metrics, c) for (a, b), c in zip(pairs, classes, strict=True)]
    distances = [[metrics["per_class"]["class_fid"][c] for metrics in (a, b)] for a, b, c in here]
    both = [(float(x), float(y)) for x, y in distances if x is not None and y is not None]
    first, second = (float(np.mean([p[side] for p in both])) if both else None for side in (0, 1))
    group = next((g for g, members in here[0][0]["groups"].items() if classes[0] in members), "")
    images = float(np.mean([a["class_counts"][c] for a, _, c in here]))
    names = tuple(a["class_names"][c] for a, _, c in here)
    return Ranked(names, images, group, first, second, tuple(y - x for x, y in both))


def names_of_sides(pairs: Sequence[Pair]) -> tuple[str, str]:
    """What A and B are called: by their name where all of a side share it and the sides differ, else by the first path."""
    sides = [{pair[side].name for pair in pairs} for side in (0, 1)]
    if all(len(names) == 1 for names in sides) and sides[0] != sides[1]:
        return sides[0].pop(), sides[1].pop()
    return pairs[0][0].path, pairs[0][1].path


def draw_class_fid(pairs: Sequence[Pair]) -> Drawn:
    """figure.svg: the difference, raw and as a moving average over 5 classes; figure.csv: both, and what they come from."""
    ranked = rank_differences(pairs)
    raw = [r.difference for r in ranked]
    smooth = moving_average(raw)
    same = all(len(set(r.classes)) == 1 for r in ranked)
    table = [
        {
            "rank": rank,
            "class": r.classes[0] if same else None,
            "group": r.group,
            "training_images": r.training_images,
            "pairs": len(r.differences),
            "first": r.first,
            "second": r.second,
            "difference": r.difference,
            "difference_sd": float(np.std(r.differences, ddof=1)) if len(r.differences) > 1 else None,
            "difference_smoothed": s,
        }
        for rank, (r, s) in enumerate(zip(ranked, smooth, strict=True), 1)
    ]
    missing = [str(rank) for rank, value in enumerate(raw, 1) if value is None]
    notes = (f"No distance for frequency rank {', '.join(missing)}: too few images on either side.",) if missing else ()
    labels = [r.classes[0] if same else str(rank) for rank, r in enumerate(ranked, 1)]
    first, second = names_of_sides(pairs)
    mean = float(np.mean([value for value in raw if value is not None]))
    facts = {"first": first, "second": second, "mean_difference": mean}
    svg = _svg(pairs, ranked, labels, smooth, axis_name="class, most frequent first" if same else "frequency rank of the class")
    return Drawn({FIGURE_SVG: svg.encode(), FIGURE_CSV: to_csv(table)}, facts=facts, notes=notes)


def _svg(
    pairs: Sequence[Pair], ranked: Sequence[Ranked], labels: list[str], smooth: list[float | None], *, axis_name: str
) -> str:
    a, b = names_of_sides(pairs)
    with drawing.style():
        figure = Figure(figsize=(drawing.WIDTH, drawing.height(3.6, labels)), layout="constrained")
        axis = figure.subplots()
        x = np.arange(len(ranked))
        raw = np.array([np.nan if r.difference is None else r.difference for r in ranked])
        axis.bar(x, raw, width=0.8, color=[NEARER if v < 0 else FARTHER for v in raw])
        curve = [np.nan if v is None else v for v in smooth]
        (line,) = axis.plot(x, curve, color=drawing.GREY, linewidth=1.8, label=f"moving average over {WINDOW} classes")
        axis.axhline(0, color=drawing.GREY, linewidth=0.8)
        drawing.class_axis(axis, labels, axis_name)
        _groups(axis, [r.group for r in ranked])
        axis.grid(axis="y")
        axis.margins(y=0.12)
        axis.set_ylabel("difference in Fréchet distance")
        many = f" (mean of {len(pairs)} pairs)" if len(pairs) > 1 else ""
        axis.set_title(f"{b} less {a}{many}", pad=16)
        better, worse = (Patch(color=c, label=f"{name} is nearer") for c, name in ((NEARER, b), (FARTHER, a)))
        drawing.legend(figure, [better, worse, line])
        figure.text(0.995, 0.985, terms_of(pairs[0][0]), ha="right", va="top", fontsize=8.5, color=drawing.GREY)
        return drawing.svg(figure, "class-fid", f"Per-class Fréchet distance of {b} less that of {a}, by frequency rank")


def _groups(axis: Any, groups: Sequence[str]) -> None:
    """Where one group of classes ends and the next begins."""
    for start in (i for i, group in enumerate(groups) if group and (i == 0 or groups[i - 1] != group)):
        if start:
            axis.axvline(start - 0.5, color="#9aa1ab", linewidth=0.8, linestyle=(0, (4, 3)))
        axis.annotate(
            f"{groups[start]}-shot", (start - 0.45, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", fontsize=8.5, color=drawing.GREY,
        )  # fmt: skip
