"""What an evaluation leaves beside metrics.json: a table by class, the closest pairs as table and picture, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltaug.data.groups import by_frequency
from ltaug.data.imageset import Images, ImageSet, Labels
from ltaug.data.sheet import contact_sheet
from ltaug.files import to_csv, write_bytes
from ltaug.metrics.memorisation import Pair
from ltaug.metrics.neighbours import as_nearest
from ltaug.records import METRICS_FILE, PAIRS_SHEET

PER_CLASS = "per-class.csv"
PAIRS = "closest-pairs.csv"
SAMPLES = "samples.png"
OUTPUTS = (METRICS_FILE, PER_CLASS, PAIRS, PAIRS_SHEET, SAMPLES)
SHEET_COLUMNS = 10
SHEET_CLASSES = 100


def write_per_class(path: Path, document: Mapping[str, Any], *, generated: Labels, reference: Labels) -> None:
    """One row a class: its images, and every measure that is taken by class; no value where there is none.

    Args:
        document: what goes into metrics.json.
        generated, reference: labels of the images that were compared.
    """
    names, measures = document["class_names"], document["per_class"]
    made, real = (np.bincount(labels, minlength=len(names)) for labels in (generated, reference))
    group_of = {c: name for name, members in document["groups"].items() for c in members}
    header = ["class", "group", "train_images", "generated_images", "reference_images", *measures]
    rows = [
        [name, group_of.get(c, ""), document["class_counts"][c], made[c], real[c], *(m[c] for m in measures.values())]
        for c, name in enumerate(names)
    ]
    write_bytes(path / PER_CLASS, to_csv([header, *rows]))


def write_pairs(path: Path, pairs: Sequence[Pair], images: Images, labels: Labels, train: ImageSet, *, mirrored: bool) -> None:
    """The generated images nearest to a training image, each above that image; distances and classes in the table.

    Args:
        images, labels: generated; `pairs` index them and the training set.
        mirrored: whether a mirrored training image counts, in which case the nearer of it and its mirror image is shown.
    """
    made, rows = images[[pair.generated for pair in pairs]], []
    near, flipped = as_nearest(made, train.images[np.array([pair.train for pair in pairs], np.int64)], mirrored=mirrored)
    number = {i: i - int(np.searchsorted(labels, labels[i])) for i in (pair.generated for pair in pairs)}
    for rank, (pair, turned) in enumerate(zip(pairs, flipped, strict=True), 1):
        name = train.class_names[labels[pair.generated]]
        of_train = train.class_names[train.labels[pair.train]]
        threshold = "" if pair.threshold is None else f"{pair.threshold:.4f}"
        rows.append([rank, name, number[pair.generated], pair.train, of_train, int(turned), f"{pair.distance:.4f}", threshold])
    header = ["rank", "class", "index", "train_index", "train_class", "mirrored", "distance", "threshold_1"]
    write_bytes(path / PAIRS, to_csv([header, *rows]))
    sheet: list[Images] = []
    for start in range(0, len(pairs), SHEET_COLUMNS):
        part = slice(start, start + SHEET_COLUMNS)
        # An empty row between the bands, so that what stands together is read together.
        sheet += [*([made[:0]] if start else []), made[part], near[part]]
    write_bytes(path / PAIRS_SHEET, contact_sheet(sheet))


def write_samples(path: Path, images: Images, train: ImageSet) -> None:
    """Generated images, a row a class, most frequent first; of more than 100 classes, 100 evenly over the ranks.

    Args:
        images: uint8 (K n, C, H, W), class after class.
    """
    by_class = images.reshape(train.num_classes, -1, *images.shape[1:])
    ranked = by_frequency(train.class_counts)
    shown = [ranked[round(i)] for i in np.linspace(0, len(ranked) - 1, min(len(ranked), SHEET_CLASSES))]
    write_bytes(path / SAMPLES, contact_sheet([by_class[c, :SHEET_COLUMNS] for c in shown]))
