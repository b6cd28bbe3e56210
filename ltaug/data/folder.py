"""folder:PATH: a class-per-folder tree of image files, with or without train/ and test/ above the classes.

Where a metadata.csv or .jsonl in it has labels, these count (data/table.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltaug.data.cache import File
from ltaug.data.longtail import listed
from ltaug.data.outside import TEST_NAMES
from ltaug.data.parts import Part, files_below, hidden, is_image, read_parts, shown
from ltaug.data.sources import Request, Splits
from ltaug.data.table import read_folder_of_tables, tables_in
from ltaug.errors import DataError, MismatchError

_REMEDY = (
    "put each class's images into a folder named after the class, or list them in metadata.csv beside them, with the columns "
    "file_name and label"
)


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
        if tables := tables_in(root):
            return read_folder_of_tables(root, tables, request)
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
    parts = [Part(found.files, np.repeat(np.arange(len(found.counts)), found.counts)) for found in (train, test) if found]
    return read_parts(root, train.class_names, parts, request, source=f"folder:{request.argument}", notes=notes)


def _splits(root: Path) -> tuple[Path, Path | None, list[str]]:
    """The folder of training classes, that of test classes if there is one, and notes."""
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}; folder:PATH needs a folder with one folder of images for each class")
    folders = {path.name: path for path in _visible_folders(root)}
    # A class may itself be called "train"; only a folder of folders is a split.
    if "train" not in folders or not _visible_folders(folders["train"]):
        if "train" in folders and folders.keys() <= {"train", *TEST_NAMES}:
            raise DataError(f"{root} holds {listed(sorted(folders))}, and no folders in train; {_REMEDY}")
        return root, None, []
    train, found = folders["train"], [name for name in TEST_NAMES if name in folders]
    unused = sorted(set(folders) - {"train", *found[:1]})
    notes = [f"folders beside train/ not used: {listed(shown(unused))}"] if unused else []
    return train, folders[found[0]] if found else None, notes


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not hidden(p.name) and not _leads_back(p))


def _leads_back(path: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


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
    loose = [p for p in folder.iterdir() if not hidden(p.name) and p not in known]
    if not classes:
        what = "holds files but no folders" if loose else "is empty"
        raise DataError(f"{folder} {what}; {_REMEDY}")
    for path in (folder, *classes):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:  # no report, manifest or folder of synthetic images could name it
            raise DataError(f"the name of the folder {os.fsencode(path)!r} is not UTF-8; rename it") from error
    files: list[File] = []
    counts: list[int] = []
    ignored = len(loose)
    for path in classes:
        found = list(files_below(str(path), path.relative_to(root).as_posix()))
        images = sorted(filter(is_image, found))
        files += images
        counts.append(len(images))
        ignored += len(found) - len(images)
    return Tree(tuple(p.name for p in classes), tuple(files), tuple(counts), ignored)
