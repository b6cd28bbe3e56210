"""The parts of a synthesis under way: files that each hold the rows of some candidates and their kept images, or are not there.

What a part holds depends on its candidates alone, so any process may make it, at any time and again. Parts are zip archives,
which check what is read from them.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from ltaug.data.imageset import Images
from ltaug.data.sheet import encoded
from ltaug.errors import CorruptError, damaged
from ltaug.files import write_bytes
from ltaug.manifest import KEPT, Row, csv_to_rows, image_key, rows_to_csv

FOLDER = "parts"
ROWS, SECONDS = "rows.csv", "seconds"


@dataclass(frozen=True)
class Part:
    """A part that is there: the rows of its candidates, and the seconds that it took."""

    path: Path
    rows: list[Row]
    seconds: float


def write_part(run: Path, rows: Sequence[Row], images: Sequence[Images], *, seconds: float, pool: Executor) -> None:
    """Put the rows of candidates and the images, uint8 (C, H, W), of those that are kept on the disk; `pool` encodes them."""
    names = [image_key(row.class_, row.index) for row in rows]
    kept = [(name, image) for name, row, image in zip(names, rows, images, strict=True) if row.verdict == KEPT]
    pngs = pool.map(encoded, [image for _, image in kept])
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr(ZipInfo(ROWS), rows_to_csv(rows))
        archive.writestr(ZipInfo(SECONDS), f"{seconds:.3f}")
        for (name, _), png in zip(kept, pngs, strict=True):
            archive.writestr(ZipInfo(name), png)
    (run / FOLDER).mkdir(exist_ok=True)
    write_bytes(run / FOLDER / f"{hashlib.sha256(repr(names).encode()).hexdigest()[:24]}.zip", buffer.getvalue())


def read_parts(run: Path) -> Iterator[Part]:
    """The parts that are there, always in the same order.

    Raises:
        CorruptError: one is damaged.
    """
    for path in sorted((run / FOLDER).glob("*.zip")):
        try:
            with ZipFile(path) as archive:
                yield Part(path, csv_to_rows(archive.read(ROWS)), float(archive.read(SECONDS)))
        except (BadZipFile, CorruptError, KeyError, ValueError) as error:
            raise _damaged(path, error) from error


def read_pngs(kept: Sequence[tuple[Row, Path]]) -> list[bytes]:
    """The encoded images of rows, each from the part that it is in; every part is opened once.

    Raises:
        CorruptError: a part is damaged.
    """
    places: dict[Path, list[int]] = {}
    for i, (_, path) in enumerate(kept):
        places.setdefault(path, []).append(i)
    found = [b""] * len(kept)
    for path, mine in places.items():
        try:
            with ZipFile(path) as archive:
                for i in mine:
                    found[i] = archive.read(image_key(kept[i][0].class_, kept[i][0].index))
        except (BadZipFile, KeyError) as error:
            raise _damaged(path, error) from error
    return found


def verify_parts(run: Path) -> None:
    """Read everything in the parts of an unfinished synthesis; raises CorruptError for the first that is damaged."""
    for part in read_parts(run):
        read_pngs([(row, part.path) for row in part.rows if row.verdict == KEPT])


def remove_parts(run: Path) -> None:
    """Remove all parts of a synthesis whose manifest has them."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def _damaged(path: Path, error: Exception) -> CorruptError:
    return damaged(f"{path} is damaged ({error})", path)
