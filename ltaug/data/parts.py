"""Lists of labelled images as splits: decoded or found in the cache, without those that cannot be read."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltaug.data.cache import File, conversions_note, read_files, state_of
from ltaug.data.decoding import EXTENSIONS, Content
from ltaug.data.imageset import ImageSet, Labels
from ltaug.data.longtail import hold_out, listed
from ltaug.data.outside import TEST_NAMES
from ltaug.data.sources import Request, Splits
from ltaug.errors import DataError, MismatchError

TRAIN = "train"
CIRCLE = os.strerror(errno.ELOOP)  # the `state_of` a link that leads to itself


class Part(NamedTuple):
    """The files of a split and their labels, int64 (N,)."""

    files: Sequence[File]
    labels: Labels


class Labelled(NamedTuple):
    """An image of a list: its file, the name of its class, and its split, empty where the list names none."""

    file: File
    label: str
    split: str


def read_parts(
    root: Path,
    class_names: tuple[str, ...],
    parts: Sequence[Part],
    request: Request,
    *,
    source: str,
    notes: Iterable[str] = (),
    content: Content | None = None,
) -> Splits:
    """Training images and, as a second part, test images; where there is one part, test images are held out from it.

    Args:
        notes: what is known before; what is found out about the images is added.
        content: as in `read_files`.

    Raises:
        DataError: a class has no image left; see `read_files`.
    """
    files = [file for part in parts for file in part.files]
    machine, progress = request.machine, request.progress
    decoded = read_files(root, files, image_size=request.image_size, machine=machine, progress=progress, content=content)
    notes = list(notes)
    if decoded.bad:
        notes.append(f"unreadable images left out: {len(decoded.bad)} ({listed(shown(decoded.bad))})")
    if decoded.converted:
        notes.append(conversions_note(decoded.converted))
    kept = [part.labels[[file.path not in decoded.bad for file in part.files]] for part in parts]
    assert sum(map(len, kept)) == len(decoded.images)
    for part, left in zip(parts, kept, strict=True):
        if lost := [class_names[k] for k in np.setdiff1d(part.labels, left)]:
            raise DataError(f"{source}: without its unreadable images class {listed(lost)} has none left; repair or add some")
    # Slices of the map, not copies: a large set stays on disk.
    ends = [0, *np.cumsum([len(labels) for labels in kept]).tolist()]
    sets = [
        ImageSet(decoded.images[a:b], labels, class_names, source, decoded.hashes[a:b])
        for a, b, labels in zip(ends, ends[1:], kept, strict=False)
    ]
    if len(sets) == 2:
        return Splits(sets[0], sets[1], tuple(notes))
    train, test, held_out = hold_out(kept[0], class_names, per_class=request.test_per_class)
    return Splits(sets[0].take(train), sets[0].take(test), (*notes, *held_out), held_out=True)


def read_list(
    root: Path,
    images: Sequence[Labelled],
    request: Request,
    *,
    source: str,
    class_names: tuple[str, ...] | None = None,
    content: Content | None = None,
    notes: Iterable[str] = (),
) -> Splits:
    """The images of a list, as `read_parts` has them.

    Args:
        class_names: None takes the labels of the training images, as numbers or as words sorted.

    Raises:
        DataError: no image, no split called train, a class without training images; see `read_files`.
        MismatchError: a test image of a class that training images do not have.
    """
    splits = {image.split for image in images}
    if splits and splits != {""} and TRAIN not in splits:
        raise DataError(f"{source} has the splits {listed(sorted(splits))}, none called {TRAIN}; rename one")
    test = next((name for name in TEST_NAMES if name in splits), None)
    names = [TRAIN if TRAIN in splits else "", *([test] if test else [])]
    notes = [*notes, *([f"splits not used: {listed(sorted(unused))}"] if (unused := splits - set(names)) else [])]
    rows = [[image for image in images if image.split == name] for name in names]
    class_names = class_names or class_order({image.label for image in rows[0]})
    number = {name: k for k, name in enumerate(class_names)}
    if extra := sorted({image.label for image in rows[-1]} - set(number)):
        raise MismatchError(f"{source}: test images are of class {listed(extra)}, no training image is; remove or relabel them")
    parts = [Part([image.file for image in of], np.array([number[image.label] for image in of], np.int64)) for of in rows]
    if lacking := [class_names[k] for k in np.setdiff1d(np.arange(len(class_names)), parts[0].labels)]:
        raise DataError(f"{source}: no training images for class {listed(lacking)}; add some, or relabel")
    if not class_names:
        raise DataError(f"{source} lists no training image; add some")
    return read_parts(root, class_names, parts, request, source=source, notes=notes, content=content)


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels as class names in order: whole numbers by their value, others by their letters."""
    names = set(labels)
    whole = all(re.fullmatch(r"-?\d{1,18}", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if whole else 0, name)))


def shown(names: Iterable[str]) -> list[str]:
    """Names of files with what is not UTF-8 escaped."""
    return [name.encode(errors="backslashreplace").decode() for name in names]


def files_below(folder: str, name: str) -> Iterator[File]:
    """All visible files under `folder`, whose path relative to the data's folder is `name`; links to folders are skipped."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if hidden(entry.name):
                continue
            if not _is_folder(entry):
                yield File(f"{name}/{entry.name}", state_of(entry))
            elif not entry.is_symlink():
                yield from files_below(entry.path, f"{name}/{entry.name}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def is_image(file: File) -> bool:
    """Whether a file has the extension of an image, and is no link that leads to itself."""
    return file.path.lower().endswith(tuple(EXTENSIONS)) and file.state != CIRCLE


def hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
