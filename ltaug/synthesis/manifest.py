"""A synthetic set on disk: PNG class folders, manifest.csv with one row a candidate, and the way back to an ImageSet."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ltaug.data.imageset import Images, ImageSet
from ltaug.data.sheet import to_picture
from ltaug.errors import CorruptError
from ltaug.runs import atomic_write, read_run, verify_outputs
from ltaug.synthesis.select import KEPT

IMAGES = "images"
MANIFEST_FILE = "manifest.csv"


@dataclass(frozen=True)
class Row:
    """One candidate: where it lies if it was kept, how it was made, what was measured, the verdict."""

    file: str
    class_: str
    index: int
    seed: int
    guidance: float
    guidance_interval: str
    sampler: str
    steps: int
    checkpoint: str
    feature_distance: str
    nearest_real: int
    nearest_distance: str
    verdict: str
    sha256: str


HEADER = [f.name.rstrip("_") for f in fields(Row)]


def pixel_digest(image: Images) -> str:
    """SHA-256 of an image's pixels (C, H, W); independent of how PNG compresses them."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def class_folder(name: str) -> str:
    """A class's folder name: the class name with what a file system could misread written as %XX."""
    safe = "".join(ch if ch.isalnum() or ch in " -_.+()" else "".join(f"%{b:02X}" for b in ch.encode()) for ch in name)
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe


def image_file(class_name: str, index: int) -> str:
    """Where image `index` of a class lies, relative to the run."""
    return f"{IMAGES}/{class_folder(class_name)}/{index:06d}.png"


def write_image(run: Path, file: str, image: Images) -> None:
    """Write uint8 (C, H, W) as PNG."""
    path = run / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as handle:
        to_picture(image.transpose(1, 2, 0)).save(handle, format="PNG", compress_level=1)


def rows_to_csv(rows: Iterable[Row], *, header: bool) -> bytes:
    """Rows as CSV lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    writer.writerows(asdict(row).values() for row in rows)
    return text.getvalue().encode()


def csv_to_rows(data: bytes, *, header: bool) -> list[Row]:
    """Rows from CSV lines.

    Raises:
        CorruptError: a line does not have the columns of a manifest.
    """
    lines = list(csv.reader(io.StringIO(data.decode())))[1 if header else 0 :]
    if any(len(line) != len(HEADER) for line in lines):
        raise CorruptError(f"a manifest line does not have the {len(HEADER)} columns {', '.join(HEADER)}; synthesize again")
    return [
        Row(f, c, int(i), int(s), float(g), span, sampler, int(n), ck, fd, int(nr), nd, v, h)
        for f, c, i, s, g, span, sampler, n, ck, fd, nr, nd, v, h in lines
    ]


def write_manifest(run: Path, rows: Iterable[Row]) -> None:
    with atomic_write(run / MANIFEST_FILE) as file:
        file.write(rows_to_csv(rows, header=True))


def read_manifest(run: Path) -> list[Row]:
    return csv_to_rows((run / MANIFEST_FILE).read_bytes(), header=True)


def read_synthetic(run: Path) -> ImageSet:
    """The kept images of a finished synthesis run, in manifest order, every pixel checked against its digest.

    Raises:
        MismatchError: another stage's run, or not finished.
        CorruptError: the manifest or an image is missing or damaged.
    """
    record = read_run(run, stage="synthesize", finished=True)
    verify_outputs(run, record)
    names = tuple(record["facts"]["class_names"])
    shape = tuple(record["facts"]["image_shape"])
    kept = [row for row in read_manifest(run) if row.verdict == KEPT]
    images = np.zeros((len(kept), *shape), np.uint8)
    for image, row in zip(images, kept, strict=True):
        image[...] = read_image(run / row.file, row.sha256)
    position = {name: i for i, name in enumerate(names)}
    labels = np.array([position[row.class_] for row in kept], np.int64)
    return ImageSet(images, labels, names, f"synthetic:{run.name}")


def read_image(path: Path, digest: str) -> Images:
    """A PNG of a run as uint8 (C, H, W).

    Raises:
        CorruptError: it is missing, unreadable, or its pixels do not have this digest.
    """
    remedy = "delete the synthesis run and make it again"
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture, dtype=np.uint8)
    except FileNotFoundError as error:
        raise CorruptError(f"{path} is missing; {remedy}") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise CorruptError(f"{path} is damaged ({error}); {remedy}") from error
    image = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if pixel_digest(image) != digest:
        raise CorruptError(f"{path} is damaged: its pixels are not those in the manifest; {remedy}")
    return image
