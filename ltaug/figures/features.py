"""t-SNE of the averaged network's bottleneck, and what it shows as numbers taken before the plane (CORAL's picture)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE

from ltaug import drawing
from ltaug.data.groups import by_frequency, class_groups
from ltaug.data.imageset import ImageSet, Labels
from ltaug.errors import DataError
from ltaug.figures.inputs import Subject
from ltaug.figures.options import FeaturesOptions
from ltaug.figures.separation import MEASURES, Floats, Separation, bottleneck, separation
from ltaug.figures.table import FIGURE_CSV, FIGURE_SVG, Drawn, Progress, to_csv
from ltaug.runtime import Runtime, derive_seed

NUMBERS_CSV = "numbers.csv"
LEAST = 6  # images that t-SNE needs to place anything
RASTER = 2000  # points from which on dots are drawn as pixels, not as paths
PANELS = 3  # a row


@dataclass(frozen=True)
class Panel:
    """One generator's features."""

    name: str
    plane: Floats
    separation: Separation


def plane_of(features: Floats, *, perplexity: float, seed: int) -> Floats:
    """t-SNE (van der Maaten & Hinton, JMLR 2008) of (N, D) features from their first two principal components, (N, 2)."""
    perplexity = min(perplexity, (len(features) - 1) / 3)
    scaled = (features - features.mean(0)) / features.std()
    fitted = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=derive_seed(seed, "t-sne") % 2**32)
    return np.asarray(fitted.fit_transform(scaled), np.float32)


def require_enough(seen: ImageSet) -> None:
    """Raise DataError for fewer images than t-SNE can place."""
    if len(seen) < LEAST:
        raise DataError(f"{seen.source} has {len(seen)} images to take features of; at least {LEAST} are needed")


def draw_features(
    subjects: Sequence[Subject],
    seen: ImageSet,
    class_counts: Labels,
    options: FeaturesOptions,
    *,
    seed: int,
    runtime: Runtime,
    progress: Progress,
) -> Drawn:
    """figure.svg: a plane a generator; figure.csv: its points; numbers.csv: purity and silhouette of the features themselves.

    Args:
        seen: the images whose features are taken.
        class_counts: (K,) training images of the classes, by which they are grouped.

    Raises:
        DataError: too few images, or a network whose features do not tell any two images apart.
    """
    require_enough(seen)
    groups = class_groups(class_counts).members
    panels = []
    told = seen.labels if options.condition == "own" else None
    how: dict[str, Any] = {"timestep": options.timestep, "seed": seed, "runtime": runtime}
    for subject in subjects:
        features = bottleneck(subject.generator.denoiser, seen.images, told, **how)
        if not np.isfinite(features).all() or features.std(0).max() == 0:
            raise DataError(f"{subject.name}: its features are the same for all {len(seen)} images; fit it longer")
        measured = separation(features, seen.labels, num_classes=seen.num_classes, groups=groups, neighbours=options.neighbours)
        panels.append(Panel(subject.name, plane_of(features, perplexity=options.perplexity, seed=seed), measured))
        progress("drawing", len(panels), len(subjects))
    ranked = by_frequency(class_counts)
    points = [
        {"generator": p.name, "image": i, "class": seen.class_names[seen.labels[i]], "x": float(x), "y": float(y)}
        for p in panels
        for i, (x, y) in enumerate(p.plane)
    ]
    numbers = [row for p in panels for row in _numbers(p, seen, class_counts, groups)]
    alone = [seen.class_names[c] for c in range(seen.num_classes) if seen.class_counts[c] == 1]
    notes = [f"Left out of purity and silhouette, with a single image: {', '.join(alone)}."] if alone else []
    if options.condition == "own":
        notes.append("The network was told every image's label, which alone can keep classes apart; compare --condition none.")
    svg = _svg(panels, seen, ranked, options).encode()
    files = {FIGURE_SVG: svg, FIGURE_CSV: to_csv(points), NUMBERS_CSV: to_csv(numbers)}
    facts = {
        p.name: {**p.separation.overall}
        | {f"{m}/{group}": value for group, values in p.separation.groups.items() for m, value in values.items()}
        for p in panels
    }
    return Drawn(files, facts={"separation": facts}, notes=tuple(notes))


def _numbers(panel: Panel, seen: ImageSet, class_counts: Labels, groups: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """A row for all classes, for every group and for every class."""
    found = panel.separation

    def row(scope: str, members: Sequence[int], values: Mapping[str, float | None]) -> dict[str, Any]:
        images, train = (int(counts[list(members)].sum()) for counts in (seen.class_counts, class_counts))
        return {"generator": panel.name, "scope": scope, "images": images, "training_images": train, **values}

    rows = [row("all", range(seen.num_classes), found.overall)]
    rows += [row(group, members, found.groups[group]) for group, members in groups.items() if group != "all"]
    return rows + [
        row(f"class {name}", [c], {m: found.classes[m][c] for m in MEASURES}) for c, name in enumerate(seen.class_names)
    ]


def _svg(panels: Sequence[Panel], seen: ImageSet, ranked: Sequence[int], options: FeaturesOptions) -> str:
    """A panel a generator; classes by colour and marker, or many by colour of their rank; rare ones dark and on top."""
    columns = min(PANELS, len(panels))
    rows = -(-len(panels) // columns)
    few_classes = len(ranked) <= len(drawing.COLOURS) * 2
    with drawing.style():
        figure = Figure(figsize=(max(6.5, drawing.WIDTH * columns / PANELS), 4.4 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        present = [c for c in ranked if seen.class_counts[c]]
        size = 22 if len(seen) < 1000 else 9 if len(seen) < 4000 else 4
        for axis, panel in zip(axes, panels, strict=False):
            for rank, c in enumerate(present):
                x, y = panel.plane[seen.labels == c].T
                look = _look(rank, len(present), few_classes=few_classes)
                axis.scatter(x, y, s=size, linewidths=0, alpha=0.85, rasterized=len(seen) >= RASTER, **look)
            overall = panel.separation.overall
            axis.set_title(f"{panel.name}\npurity {_shown(overall['purity'])}, silhouette {_shown(overall['silhouette'])}")
            axis.set_xticks([])
            axis.set_yticks([])
            for side in ("top", "right"):
                axis.spines[side].set_visible(True)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        if few_classes:
            names = [drawing.short(seen.class_names[c]) for c in present]
            looks = [_look(rank, len(present), few_classes=True) for rank in range(len(present))]
            handles = [Line2D([], [], linestyle="", label=name, **look) for name, look in zip(names, looks, strict=True)]
            fitting = max(1, int(12 * figure.get_figwidth() / (max(map(len, names)) + 4)))
            beside = min(10, len(handles), fitting)
            figure.legend(handles=handles, loc="outside lower center", ncols=beside, frameon=False)
        else:
            bar = figure.colorbar(_ranks(len(present)), ax=list(axes), shrink=0.7, location="right")
            bar.set_label("frequency rank of the class")
            bar.outline.set_visible(False)
        told = "each image's own label" if options.condition == "own" else "no label"
        split = {"train": "training", "test": "test"}[options.images]
        alt = f"t-SNE of the bottleneck on {len(seen):,} {split} images at t = {options.timestep}, told {told}"
        figure.suptitle(alt if columns > 1 else alt.replace(" at t =", "\nat t ="), x=0.01, ha="left", fontsize=9.5)
        return drawing.svg(figure, "features", alt)


def _ranks(count: int) -> Any:
    return matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(1, count), matplotlib.colormaps["viridis_r"])


def _look(rank: int, count: int, *, few_classes: bool) -> dict[str, Any]:
    if few_classes:
        turn, colour = divmod(rank, len(drawing.COLOURS))
        return {"color": drawing.COLOURS[colour], "marker": ("o", "^")[turn]}
    return {"color": _ranks(count).to_rgba(rank + 1), "marker": "o"}


def _shown(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.2f}".replace("-", "−")
