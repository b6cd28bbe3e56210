"""Images for the page: real beside synthetic for each class, and the synthetic images nearest to a real one."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ltaug.data.groups import by_frequency
from ltaug.data.imageset import Images, ImageSet
from ltaug.data.shards import read_images
from ltaug.errors import CorruptError
from ltaug.records import MANIFEST_FILE, SynthesisRecord

SIDE = 48  # pixels an image is enlarged to at least
LARGEST = 96  # and reduced to at most
PER_CLASS = 8
CLASSES = 24
RAREST = 3  # of them, whatever is left out in between
COPIES = 12
GAP = 3


@dataclass(frozen=True)
class ClassRow:
    """Real and synthetic images of one class as PNG data URIs ("" where there are none)."""

    class_name: str
    real_count: int
    synthetic_count: int
    real: str
    synthetic: str


@dataclass(frozen=True)
class Copy:
    """A synthetic image beside its nearest real one."""

    class_name: str
    real_class: str
    distance: float
    synthetic: str
    real: str


@dataclass(frozen=True)
class Gallery:
    """The pictures of one synthesis run: classes, most frequent first, and the kept images nearest to a real one, nearest first.

    `left_out` counts the classes without a row; `real_nearest` has quantiles of the same distance among real images.
    """

    arm: str
    seed: int
    rows: tuple[ClassRow, ...]
    left_out: int
    copies: tuple[Copy, ...]
    real_nearest: Mapping[str, float]


def gallery(synthesis: SynthesisRecord, real: ImageSet, *, arm: str, seed: int) -> Gallery:
    """Real against synthetic images of one run.

    Raises:
        CorruptError: the manifest, a shard or an image it names is missing or damaged.
        DataError: a shard's URL cannot be read.
    """
    path = synthesis.path
    kept = _kept(path)
    by_class: dict[str, list[dict[str, str]]] = {}
    for entry in kept:
        by_class.setdefault(entry["class"], []).append(entry)
    order = by_frequency(real.class_counts)
    rest, rarest = order[:-RAREST], order[-RAREST:]
    between = CLASSES - RAREST
    spaced = rest if len(rest) <= between else [rest[round(i * (len(rest) - 1) / (between - 1))] for i in range(between)]
    shown = [*spaced, *rarest]
    near = sorted((e for e in kept if math.isfinite(_distance(e))), key=lambda e: (_distance(e), e["file"]))[:COPIES]
    first = [e["file"] for k in shown for e in by_class.get(real.class_names[k], [])[:PER_CLASS]]
    files = list(dict.fromkeys([*first, *(e["file"] for e in near)]))
    images = {files[i]: image for i, image in read_images(path, files)}
    rows = tuple(_row(images, real, k, by_class.get(real.class_names[k], [])) for k in shown)
    copies = tuple(_copy(path, images, real, e) for e in near)
    return Gallery(arm, seed, rows, len(order) - len(shown), copies, synthesis.real_nearest)


def _kept(synthesis: Path) -> list[dict[str, str]]:
    path = synthesis / MANIFEST_FILE
    if not path.is_file():
        raise CorruptError(f"{path} is missing; delete {synthesis} and run its command again")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"file", "class", "verdict", "nearest_real", "nearest_distance"} <= set(rows[0]):
        raise CorruptError(f"{path} lacks columns of a manifest; delete {synthesis} and run its command again")
    return [row for row in rows if row["verdict"] == "kept" and row["file"]]


def _distance(entry: Mapping[str, str]) -> float:
    """To the nearest real image; NaN where none is recorded."""
    return float(entry["nearest_distance"] or "nan") if entry["nearest_real"] else math.nan


def _row(images: Mapping[str, Images], real: ImageSet, k: int, entries: Sequence[Mapping[str, str]]) -> ClassRow:
    own = np.flatnonzero(real.labels == k)
    made = strip([images[e["file"]] for e in entries[:PER_CLASS]])
    return ClassRow(real.class_names[k], len(own), len(entries), strip([real.images[i] for i in own[:PER_CLASS]]), made)


def _copy(synthesis: Path, images: Mapping[str, Images], real: ImageSet, entry: Mapping[str, str]) -> Copy:
    index = int(float(entry["nearest_real"]))
    if not 0 <= index < len(real):
        where = f"{synthesis / MANIFEST_FILE} names real image {index} of {len(real)}"
        raise CorruptError(f"{where}; delete {synthesis} and run its command again")
    synthetic, nearest = strip([images[entry["file"]]]), strip([real.images[index]])
    return Copy(entry["class"], real.class_names[real.labels[index]], _distance(entry), synthetic, nearest)


def strip(images: Sequence[Any]) -> str:
    """Images (C, H, W) side by side as one PNG data URI, enlarged by whole pixels or reduced to a fair size; "" for none."""
    if not images:
        return ""
    tiles = [_sized(np.asarray(image, np.uint8)) for image in images]
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    joined = [part for tile in tiles for part in (gap, tile)][1:]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(joined, axis=1)).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _sized(image: Images) -> Images:
    channels, height, width = image.shape
    hwc = (np.repeat(image[:1], 3, axis=0) if channels < 3 else image[:3]).transpose(1, 2, 0)
    longest = max(height, width)
    if longest < SIDE:
        factor = math.ceil(SIDE / longest)
        return np.asarray(hwc.repeat(factor, axis=0).repeat(factor, axis=1))
    if longest > LARGEST:
        size = (max(1, width * LARGEST // longest), max(1, height * LARGEST // longest))
        return np.asarray(Image.fromarray(np.ascontiguousarray(hwc)).resize(size, Image.Resampling.LANCZOS))
    return np.asarray(hwc)
