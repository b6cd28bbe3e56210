"""folder:PATH: a class-per-folder tree of image files, with or without train/ and test/ above the classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltaug.data.cache import read_files
from ltaug.data.imageset import ImageSet, Labels
from ltaug.data.longtail import hold_out, listed
from ltaug.data.pixels import EXTENSIONS
from ltaug.data.sources import Request, Source
from ltaug.errors import DataError, MismatchError

TEST_NAMES = ("test", "val", "validation")


@dataclass(frozen=True)
class Tree:
    """The files of one split: (class name, path relative to the data folder) sorted by both, and what was ignored."""

    class_names: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    ignored: int


def read_folder(request: Request) -> Source:
    """The images under request.argument.

    Raises:
        DataError: no such folder, no class folders, a class without images, unreadable images (see `read_files`).
        MismatchError: train and test have different classes.
    """
    root = Path(request.argument).expanduser()
    try:
        train_folder, test_folder, notes = _splits(root)
        train = _list_tree(root, train_folder)
        test = _list_tree(root, test_folder) if test_folder is not None else None
    except OSError as error:
        raise DataError(f"{root} cannot be listed ({error}); check its permissions") from error
    if test is not None and test.class_names != train.class_names:
        missing = sorted(set(train.class_names) - set(test.class_names))
        extra = sorted(set(test.class_names) - set(train.class_names))
        lacking = ((test_folder, missing), (train_folder, extra))
        differences = [f"{which} lacks {listed(names)}" for which, names in lacking if names]
        raise MismatchError(f"train and test have different class folders: {'; '.join(differences)}; make them the same")
    ignored = train.ignored + (test.ignored if test else 0)
    if ignored:
        notes.append(f"files ignored, not images by their extension or outside the class folders: {ignored}")
    files = (*train.files, *(test.files if test else ()))
    decoded = read_files(
        root, [path for _, path in files], image_size=request.image_size, skip_bad=request.skip_bad, progress=request.progress
    )
    if decoded.bad:
        notes.append(f"unreadable images left out: {len(decoded.bad)} ({listed(list(decoded.bad))})")
    index = {name: i for i, name in enumerate(train.class_names)}
    kept = [(index[name], path) for name, path in files if path not in decoded.bad]
    assert tuple(path for _, path in kept) == decoded.paths
    labels = np.array([label for label, _ in kept], dtype=np.int64)
    num_train = sum(path not in decoded.bad for _, path in train.files)
    source = f"folder:{request.argument}"
    everything = ImageSet(decoded.images, labels, train.class_names, source)
    _require_images(everything.labels[:num_train], train.class_names, train_folder)
    if test_folder is None:
        train_index, test_index, split_notes = hold_out(labels, train.class_names, per_class=request.test_per_class)
        return Source(everything.take(train_index), everything.take(test_index), (*notes, *split_notes), held_out=True)
    _require_images(labels[num_train:], train.class_names, test_folder)
    # Slices of the map, not copies: a large set stays on disk.
    return Source(
        ImageSet(decoded.images[:num_train], labels[:num_train], train.class_names, source),
        ImageSet(decoded.images[num_train:], labels[num_train:], train.class_names, source),
        tuple(notes),
    )


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
    notes = [f"folders beside train/ not used: {listed(unused)}"] if unused else []
    return train, folders[found[0]] if found else None, notes


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _list_tree(root: Path, folder: Path) -> Tree:
    classes = _visible_folders(folder)
    loose = [p for p in folder.iterdir() if p.is_file() and not _hidden(p.name)]
    if not classes:
        what = "holds files but no folders" if loose else "is empty"
        raise DataError(f"{folder} {what}; put each class's images into a folder named after the class")
    files: list[tuple[str, str]] = []
    empty: list[str] = []
    ignored = len(loose)
    for class_folder in classes:
        images = []
        for path in _files_below(class_folder):
            if path.suffix.lower() in EXTENSIONS:
                images.append((class_folder.name, path.relative_to(root).as_posix()))
            else:
                ignored += 1
        if not images:
            empty.append(class_folder.name)
        files += sorted(images)
    if empty:
        raise DataError(f"{folder}: no images for class {listed(empty)}; add some or remove the folder")
    return Tree(tuple(p.name for p in classes), tuple(files), ignored)


def _files_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error  # os.walk would pass over a folder it may not read

    for parent, subfolders, names in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not _hidden(name)]
        yield from (Path(parent, name) for name in names if not _hidden(name))


def _require_images(labels: Labels, class_names: tuple[str, ...], folder: Path) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataError(f"{folder}: without its unreadable images class {listed(empty)} has none left; repair or add some")
