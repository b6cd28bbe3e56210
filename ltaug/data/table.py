"""table:FILE: images listed in a CSV, JSONL or Parquet file; and folders with such a list, metadata.csv or metadata.jsonl."""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltaug.data.cache import File, state_of
from ltaug.data.longtail import listed
from ltaug.data.outside import TEST_NAMES
from ltaug.data.parts import TRAIN, Labelled, files_below, is_image, read_list, shown
from ltaug.data.sources import Request, Splits
from ltaug.errors import DataError
from ltaug.registry import require_extra

# Columns by what they may be called; the first that is there counts.
PATHS, LABELS, SPLIT = ("path", "file_name"), ("class", "label"), "split"
METADATA = ("metadata.csv", "metadata.jsonl")  # as `imagefolder` of `datasets` has them


def read_table(request: Request) -> Splits:
    """The images that a file lists, in the columns of PATHS and LABELS and, if there is one, `split`.

    Paths are relative to the file's folder.

    Raises:
        DataError: the file is missing, damaged or lacks a column, or a row lacks a path or a label; see `read_list`.
        OptionError: a Parquet file, and pyarrow is not installed.
    """
    table = Path(request.argument).expanduser()
    return read_list(table.parent, list(_images(table, table.parent)), request, source=f"table:{request.argument}")


def tables_in(root: Path) -> dict[str, Path]:
    """The lists of labelled images in a folder, by split: one for all ("") or one in train/ and in folders of test images."""
    tables = [(split, root / split / name) for name in METADATA for split in ("", TRAIN, *TEST_NAMES)]
    there = {split: table for split, table in tables if table.is_file()}
    found = {split: table for split, table in there.items() if any(name in LABELS for name in next(_rows(table), {}))}
    return {"": found[""]} if "" in found else found if TRAIN in found else {}


def read_folder_of_tables(root: Path, tables: Mapping[str, Path], request: Request) -> Splits:
    """The images that `tables_in` a folder list; raises as `read_table` does."""
    images = [image for split, table in tables.items() for image in _images(table, root, split)]
    lists = listed([path.relative_to(root).as_posix() for path in tables.values()])
    there = {file.path.removeprefix("./") for file in files_below(str(root), ".") if is_image(file)}
    unlisted = len(there - {posixpath.normpath(image.file.path) for image in images})
    notes = [f"labels are read from {lists}{f', which leaves out images of the folder: {unlisted}' if unlisted else ''}"]
    return read_list(root, images, request, source=f"folder:{request.argument}", notes=notes)


def _images(table: Path, root: Path, split: str = "") -> Iterator[Labelled]:
    """The rows of a table, with paths relative to `root`; `split` is theirs where it is given."""
    base = table.parent.relative_to(root).as_posix().removeprefix(".")
    for number, row in enumerate(_rows(table), 1):
        path, label = (_cell(table, number, row, names) for names in (PATHS, LABELS))
        file = posixpath.join(base, path)
        own = str(row.get(SPLIT) or "").lower()
        yield Labelled(File(file, state_of(root / file)), label, split or own)


def _cell(table: Path, number: int, row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DataError(f"{table} has no column {' or '.join(names)}, only {listed(shown(map(str, row)))}; add or rename one")
    return text_of(row[name], f"{table}: {name} of row {number}")


def text_of(value: Any, where: str) -> str:
    """A path or a label; raises DataError, which begins with `where`, if it is neither text nor a whole number."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(value, str | int) or not str(value).strip() or shown([str(value)]) != [str(value)]:
        raise DataError(f"{where} is {value!a}, neither text nor a whole number; correct or remove the row")
    return str(value)


def label_of(value: Any, names: Sequence[str] | None, where: str) -> str:
    """The class of a label: the one at that place among `names`, or without names what `text_of` says."""
    if names is None:
        return text_of(value, where)
    if not re.fullmatch(r"\d{1,9}", str(value)) or int(value) >= len(names):
        raise DataError(f"{where} is {value!a}, no place among its {len(names)} names; correct it or leave it out")
    return names[int(value)]


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    """The rows by column."""
    read = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}.get(table.suffix.lower())
    if read is None:
        raise DataError(f"{table} is not .csv, .jsonl or .parquet; convert it")
    if not table.is_file():
        raise DataError(f"{table} does not exist; name a file that lists images, with a path and a label each")
    try:
        yield from read(table)
    except (OSError, ValueError, RecursionError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{table} cannot be read ({error}); write it again, as UTF-8") from error


def _csv(table: Path) -> Iterator[dict[str, Any]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file, strict=True):
            yield {str(name): cell for name, cell in row.items() if name is not None}


def _jsonl(table: Path) -> Iterator[dict[str, Any]]:
    with table.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line) if line.strip() else {}
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not an object")
            if row:
                yield row


def _parquet(table: Path) -> Iterator[dict[str, Any]]:
    require_extra("pyarrow", "parquet", str(table))
    from pyarrow.parquet import ParquetFile

    with ParquetFile(table) as file:
        columns = [name for name in (*PATHS, *LABELS, SPLIT) if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()
