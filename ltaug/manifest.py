"""A synthetic set's manifest.csv, one row per candidate, and how the set is read back as an ImageSet."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ltaug.data.cache import keep_images
from ltaug.data.folder import class_folder
from ltaug.data.imageset import Images, ImageSet, Labels, hash_images, set_digest
from ltaug.data.shards import read_images
from ltaug.errors import CorruptError, damaged
from ltaug.files import to_csv, verify_changed
from ltaug.formats import CACHE
from ltaug.machine import Machine
from ltaug.records import MANIFEST_FILE, SynthesisRecord

KEPT = "kept"  # the verdict on what no rule rejects
IMAGES, SHARDS = "images", "shards"  # folders of a run that its images lie in
IN_MEMORY = 2**28  # bytes of images up to which a synthesis is read into memory
Digits = str  # a number as it stands in the file, or nothing


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate: its file if it was kept, how it was made, what was measured, the verdict.

    A manifest that was written before a column existed is read with the column's default.
    """

    file: str
    class_: str
    index: int
    seed: int
    guidance: float
    guidance_interval: str
    sampler: str
    steps: int
    checkpoint: str
    start: str = ""  # the index of the real image that it was made from, if any
    feature_distance: Digits
    confidence: Digits = ""  # the judges' mean probability of the class; empty without judges
    nearest_real: int
    nearest_distance: Digits
    verdict: str
    sha256: str


COLUMNS = {f.name.rstrip("_"): f for f in fields(Row)}
HEADER = list(COLUMNS)


def _digits(text: str) -> Digits:
    float(text or 0)
    return text


READ: dict[Any, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "Digits": _digits}  # by a field's annotation


def image_key(class_name: str, index: int) -> str:
    """The name of image `index` of a class, without its location and file format."""
    return f"{class_folder(class_name)}/{index:06d}"


def rows_to_csv(rows: Iterable[Row]) -> bytes:
    """Rows as CSV lines below their header."""
    return to_csv([HEADER, *map(astuple, rows)])


def csv_to_rows(data: bytes) -> list[Row]:
    """Rows from CSV lines below their header.

    Raises:
        CorruptError: a line does not have the columns of a manifest, or no number where one belongs.
    """
    needed = {name for name, f in COLUMNS.items() if f.default is MISSING}
    try:
        lines = list(csv.reader(io.StringIO(data.decode())))
        names = lines.pop(0) if lines else HEADER
        if not needed <= set(names) <= set(HEADER):
            raise ValueError(f"columns are {', '.join(names)}")
        own = [COLUMNS[name] for name in names]
        return [Row(**{f.name: READ[f.type](cell) for f, cell in zip(own, line, strict=True)}) for line in lines]
    except (ValueError, csv.Error) as error:
        columns = f"the {len(HEADER)} columns {', '.join(HEADER)}"
        raise CorruptError(f"a manifest line does not have {columns} ({error}); synthesize again") from error


def read_manifest(run: Path) -> list[Row]:
    """The rows of a synthesis.

    Raises:
        CorruptError: the manifest is missing or damaged.
    """
    path = run / MANIFEST_FILE
    if not path.is_file():
        raise damaged(f"{path} is missing", run)
    return csv_to_rows(path.read_bytes())


def read_synthetic(run: Path, *, machine: Machine = Machine()) -> ImageSet:  # noqa: B008
    """The kept images of a finished synthesis run, in manifest order, every pixel checked against its digest.

    Images of more than IN_MEMORY bytes are decoded into the dataset cache once, and mapped from there while the files of the run
    are as when they were last verified.

    Raises:
        MismatchError: another stage's run, or not finished.
        CorruptError: the manifest, a shard or an image is missing or damaged, or the cache is.
        DataError: a shard's URL cannot be read, or the cache cannot be written.
        ResourceError: the cache's disk is full or fails.
    """
    record, kept, labels = _kept(run)
    names, source, shape = record.class_names, f"synthetic:{run.name}", (len(kept), *record.image_shape)
    if math.prod(shape) <= IN_MEMORY:
        return ImageSet(read_kept(run, kept, shape=record.image_shape), labels, names, source)
    key = hashlib.sha256(repr((CACHE, shape, [row.sha256 for row in kept])).encode()).hexdigest()
    found = keep_images(run, key, shape, _images(run, kept), machine=machine)
    verify_images(run, always=machine.verify)
    return ImageSet(found.images, labels, names, source, found.hashes)


def verify_images(run: Path, *, always: bool = False) -> None:
    """Raise CorruptError unless the images of a finished run are whole; read where a file of them has changed, or `always`."""
    verify_changed(run, (IMAGES, SHARDS), lambda: synthetic_digest(run), always=always)


def remember_images(run: Path) -> None:
    """Let `verify_images` know that the images were written just now."""
    verify_changed(run, (IMAGES, SHARDS), lambda: None)


def synthetic_digest(run: Path) -> str:
    """The digest of what `read_synthetic` gives; reads all images, one at a time, and raises as that does."""
    record, kept, labels = _kept(run)
    hashes = np.zeros((len(kept), 32), np.uint8)
    for i, image in _images(run, kept):
        hashes[i] = hash_images(image[None])
    return set_digest((len(kept), *record.image_shape), record.class_names, labels, hashes)


def _kept(run: Path) -> tuple[SynthesisRecord, list[Row], Labels]:
    """A finished synthesis, the rows of its images, and these images' labels."""
    record = SynthesisRecord.read(run, finished=True)
    record.verify()
    kept = [row for row in read_manifest(run) if row.verdict == KEPT]
    place = {name: i for i, name in enumerate(record.class_names)}
    return record, kept, np.array([place[row.class_] for row in kept], np.int64)


def _images(run: Path, rows: Sequence[Row]) -> Iterator[tuple[int, Images]]:
    return read_images(run, [row.file for row in rows], [row.sha256 for row in rows])


def read_kept(run: Path, rows: Sequence[Row], *, shape: tuple[int, ...]) -> Images:
    """The images of these rows, uint8 (N, *shape), from class folders or shards.

    Raises:
        CorruptError: one is missing, unreadable, or its pixels do not have the digest of its row.
        DataError: a shard's URL cannot be read.
    """
    images = np.zeros((len(rows), *shape), np.uint8)
    for i, image in _images(run, rows):
        images[i] = image
    return images
