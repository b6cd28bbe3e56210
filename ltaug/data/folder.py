"""folder:PATH: a class-per-folder tree of image files, with or without train/ and test/ above the classes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltaug.data.cache import File, conversions_note, read_files
from ltaug.data.decoding import EXTENSIONS
from ltaug.data.imageset import ImageSet, Labels
from ltaug.data.longtail import hold_out, listed
from ltaug.data.outside import TEST_NAMES
from ltaug.data.sources import Request, Splits
from ltaug.errors import DataError, MismatchError

_CIRCLE = os.strerror(errno.ELOOP)  # the `_state` of a link that leads to itself


@dataclass(frozen=True)
class Tree:
    """The files of one split, class after class and sorted within each, how many each class has, and what was ignored."""

    class_names: tuple[str, ...]
    files: tuple[File, ...]
    counts: tuple[int, ...]
    ignored: int


def read_folder(request: Request) -> Splits:
    """The images under request.argument.

    Raises:
        DataError: no such folder, no class folders, a class without images, unreadable images (see `read_files`).
        MismatchError: train and test have different classes.
    """
    root = Path(request.argument).expanduser()
    try:
        train_folder, test_folder, notes = _splits(root)
        train = list_tree(root, train_folder)
        test = list_tree(root, test_folder) if test_folder is not None else None
    except OSError as error:
        raise DataError(f"{root} cannot be listed ({error}); check its permissions") from error
    if test is not None and test.class_names != train.class_names:
        missing = sorted(set(train.class_names) - set(test.class_names))
        extra = sorted(set(test.class_names) - set(train.class_names))
        lacking = ((test_folder, missing), (train_folder, extra))
        differences = [f"{which} lacks {listed(names)}" for which, names in lacking if names]
        raise MismatchError(f"train and test have different class folders: {'; '.join(differences)}; make them the same")
    for folder, found in ((train_folder, train), (test_folder, test)):
        empty = [name for name, count in zip(found.class_names, found.counts, strict=True) if count == 0] if found else []
        if empty:
            raise DataError(f"{folder}: no images for class {listed(empty)}; add some or remove the folder")
    ignored = train.ignored + (test.ignored if test else 0)
    if ignored:
        notes.append(f"files ignored, not images by their extension, outside the class folders or links in a circle: {ignored}")
    files = (*train.files, *(test.files if test else ()))
    decoded = read_files(root, files, image_size=request.image_size, machine=request.machine, progress=request.progress)
    if decoded.bad:
        notes.append(f"unreadable images left out: {len(decoded.bad)} ({listed(_shown(decoded.bad))})")
    if decoded.converted:
        notes.append(conversions_note(decoded.converted))
    readable = np.array([file.path not in decoded.bad for file in files])
    assert readable.sum() == len(decoded.images)
    num_train = int(readable[: len(train.files)].sum())
    counts = (*train.counts, *(test.counts if test else ()))
    labels = np.repeat(np.arange(len(counts)) % len(train.class_names), counts)[readable]
    source = f"folder:{request.argument}"
    everything = ImageSet(decoded.images, labels, train.class_names, source, decoded.hashes)
    _require_images(everything.labels[:num_train], train.class_names, train_folder)
    if test_folder is None:
        train_index, test_index, split_notes = hold_out(labels, train.class_names, per_class=request.test_per_class)
        return Splits(everything.take(train_index), everything.take(test_index), (*notes, *split_notes), held_out=True)
    _require_images(labels[num_train:], train.class_names, test_folder)
    # Slices of the map, not copies: a large set stays on disk.
    split = (slice(num_train), slice(num_train, None))
    train_set, test_set = (
        ImageSet(decoded.images[part], labels[part], train.class_names, source, decoded.hashes[part]) for part in split
    )
    return Splits(train_set, test_set, tuple(notes))


def _splits(root: Path) -> tuple[Path, Path | None, list[str]]:
    """The folder of training classes, that of test classes if there is one, and notes."""
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}; folder:PATH needs a folder with one folder of images for each class")
    folders = {path.name: path for path in _visible_folders(root)}
    # A class may itself be called "train"; only a folder of folders is a split.
    if "train" not in folders or not _visible_folders(folders["train"]):
        return root, None, []
    train, found = folders["train"], [name for name in TEST_NAMES if name in folders]
    unused = sorted(set(folders) - {"train", *found[:1]})
    notes = [f"folders beside train/ not used: {listed(_shown(unused))}"] if unused else []
    return train, folders[found[0]] if found else None, notes


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name) and not _leads_back(p))


def _leads_back(path: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _shown(names: Iterable[str]) -> list[str]:
    """Names of files with what is not UTF-8 escaped."""
    return [name.encode(errors="backslashreplace").decode() for name in names]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def class_folder(name: str) -> str:
    """A class's folder name: the class name, with characters that a file system could misread written as %XX."""
    safe = "".join(ch if ch.isalnum() or ch in " -_.+()" else "".join(f"%{b:02X}" for b in ch.encode()) for ch in name)
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe


def list_tree(root: Path, folder: Path) -> Tree:
    """The images in the class folders of `folder`, which is `root` or below it.

    Raises:
        DataError: there are no class folders, or one whose name is not text.
        OSError: a folder cannot be listed.
    """
    classes = _visible_folders(folder)
    known = set(classes)
    loose = [p for p in folder.iterdir() if not _hidden(p.name) and p not in known]
    if not classes:
        what = "holds files but no folders" if loose else "is empty"
        raise DataError(f"{folder} {what}; put each class's images into a folder named after the class")
    for path in (folder, *classes):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:  # no report, manifest or folder of synthetic images could name it
            raise DataError(f"the name of the folder {os.fsencode(path)!r} is not UTF-8; rename it") from error
    files: list[File] = []
    counts: list[int] = []
    ignored = len(loose)
    for path in classes:
        found = list(_files_below(str(path), path.relative_to(root).as_posix()))
        images = sorted(f for f in found if f.path.lower().endswith(tuple(EXTENSIONS)) and f.state != _CIRCLE)
        files += images
        counts.append(len(images))
        ignored += len(found) - len(images)
    return Tree(tuple(p.name for p in classes), tuple(files), tuple(counts), ignored)


def _files_below(folder: str, name: str) -> Iterator[File]:
    """All visible files under `folder`, whose path relative to the data's folder is `name`; links to folders are skipped."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            if not _is_folder(entry):
                yield File(f"{name}/{entry.name}", _state(entry))
            elif not entry.is_symlink():
                yield from _files_below(entry.path, f"{name}/{entry.name}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _state(entry: os.DirEntry[str]) -> str:
    try:
        stat = entry.stat()
    except OSError as error:  # a broken link: decoding reports it as unreadable
        return f"{error.strerror}"
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def _require_images(labels: Labels, class_names: tuple[str, ...], folder: Path) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataError(f"{folder}: without its unreadable images class {listed(empty)} has none left; repair or add some")
