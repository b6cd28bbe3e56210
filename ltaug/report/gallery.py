"""Images for the page: real beside synthetic for each class, and the synthetic images nearest to a real one."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ltaug.data.groups import by_frequency
from ltaug.data.imageset import Images, ImageSet
from ltaug.data.shards import SHARDS_FILE, read_images
from ltaug.data.sheet import png_of
from ltaug.errors import damaged
from ltaug.manifest import KEPT, Row, read_manifest
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
class Entry:
    """A synthetic image: the key it is read by, its class, its nearest real image and the distance, if known."""

    key: str
    class_name: str
    nearest: int | None
    distance: float


@dataclass(frozen=True)
class Gallery:
    """The pictures of one synthetic set: classes, most frequent first, and the images nearest to a real one, nearest first.

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

    def read(files: Sequence[str]) -> dict[str, Images]:
        return {files[i]: image for i, image in read_images(path, files, [digests[file] for file in files])}

    synthesis.verify(MANIFEST_FILE, SHARDS_FILE)
    rows = [row for row in read_manifest(path) if row.verdict == KEPT]
    digests = {row.file: row.sha256 for row in rows}
    kept = [_entry(path, row, len(real)) for row in rows]
    return _hang(kept, read, real, real_nearest=synthesis.real_nearest, arm=arm, seed=seed)


def gallery_of_given(images: ImageSet, overlap: Mapping[str, Any], real: ImageSet, *, arm: str, seed: int) -> Gallery:
    """Real against synthetic images that were made elsewhere.

    Args:
        overlap: as the classifier's run recorded it (metrics.overlap), with the images nearest to a real one.
    """
    near = {int(i): (int(nearest), float(distance)) for i, nearest, distance in overlap.get("closest", ())}
    entries = [Entry(str(i), images.class_names[k], *near.get(i, (None, math.nan))) for i, k in enumerate(images.labels.tolist())]

    def read(keys: Sequence[str]) -> dict[str, Images]:
        return {key: images.images[int(key)] for key in keys}

    return _hang(entries, read, real, real_nearest=overlap.get("real_nearest", {}), arm=arm, seed=seed)


def _hang(
    entries: Iterable[Entry],
    read: Callable[[Sequence[str]], Mapping[str, Images]],
    real: ImageSet,
    *,
    real_nearest: Mapping[str, float],
    arm: str,
    seed: int,
) -> Gallery:
    """The gallery of these entries; only images that are shown are read."""
    by_class: dict[str, list[Entry]] = {}
    for entry in entries:
        by_class.setdefault(entry.class_name, []).append(entry)
    order = by_frequency(real.class_counts)
    rest, rarest = order[:-RAREST], order[-RAREST:]
    between = CLASSES - RAREST
    spaced = rest if len(rest) <= between else [rest[round(i * (len(rest) - 1) / (between - 1))] for i in range(between)]
    shown = [*spaced, *rarest]
    known = (e for of_class in by_class.values() for e in of_class if e.nearest is not None and math.isfinite(e.distance))
    near = sorted(known, key=lambda e: (e.distance, e.key))[:COPIES]
    first = [e.key for k in shown for e in by_class.get(real.class_names[k], [])[:PER_CLASS]]
    images = read(list(dict.fromkeys([*first, *(e.key for e in near)])))
    rows = tuple(_row(images, real, k, by_class.get(real.class_names[k], [])) for k in shown)
    return Gallery(arm, seed, rows, len(order) - len(shown), tuple(_copy(images, real, e) for e in near), real_nearest)


def _entry(synthesis: Path, row: Row, real: int) -> Entry:
    """A kept image's row of the manifest, where there are so many real images."""
    if not 0 <= row.nearest_real < real:
        raise damaged(f"{synthesis / MANIFEST_FILE} names real image {row.nearest_real} of {real}", synthesis)
    return Entry(row.file, row.class_, row.nearest_real, float(row.nearest_distance or "nan"))


def _row(images: Mapping[str, Images], real: ImageSet, k: int, entries: Sequence[Entry]) -> ClassRow:
    own = np.flatnonzero(real.labels == k)
    made = strip([images[e.key] for e in entries[:PER_CLASS]])
    return ClassRow(real.class_names[k], len(own), len(entries), strip([real.images[i] for i in own[:PER_CLASS]]), made)


def _copy(images: Mapping[str, Images], real: ImageSet, entry: Entry) -> Copy:
    assert entry.nearest is not None, "only entries with a nearest real image are hung beside it"
    synthetic, nearest = strip([images[entry.key]]), strip([real.images[entry.nearest]])
    return Copy(entry.class_name, real.class_names[real.labels[entry.nearest]], entry.distance, synthetic, nearest)


def strip(images: Sequence[Any]) -> str:
    """Images (C, H, W) side by side as one PNG data URI, enlarged by whole pixels or reduced to a fair size; "" for none."""
    if not images:
        return ""
    tiles = [_sized(np.asarray(image, np.uint8)) for image in images]
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    joined = [part for tile in tiles for part in (gap, tile)][1:]
    png = png_of(Image.fromarray(np.concatenate(joined, axis=1)), optimize=True)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


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
