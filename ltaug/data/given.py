"""Synthetic images of any origin, made to fit a training set: class folders, a .npz file or WebDataset shards.

Classes are told by name, in a folder's name as `class_folder` writes it too. Where classes are told by number (a .npz without
class_names, digits in a .cls), a number is a place in the training set's class order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ltaug.data.archives import content_of, open_tar, samples_in
from ltaug.data.cache import conversions_note, require_readable
from ltaug.data.decoding import Decoded, decode_all, to_pixels, try_decode
from ltaug.data.folder import class_folder, list_tree
from ltaug.data.imageset import Images, ImageSet
from ltaug.data.longtail import listed
from ltaug.data.sheet import to_picture
from ltaug.data.sources import check_labels, checked_pair, named_classes, read_npz
from ltaug.errors import DataError, MismatchError
from ltaug.machine import Machine

FORMS = "a synthesize run, a folder with a folder of images for each class, a .npz file, or WebDataset shards (.tar)"
MODES = {1: "L", 3: "RGB"}  # Pillow's, by the channels of the training images


@dataclass(frozen=True)
class GivenImages:
    """Images as the training set has them, and what was done to that end."""

    images: ImageSet
    names: tuple[str, ...]  # of each image, for people: a file, or its number
    notes: tuple[str, ...]  # a sentence each


class Found(NamedTuple):
    """One image as it was given, or what is wrong with it."""

    name: str
    label: int
    decoded: Decoded | str


def form_of(path: Path) -> str:
    """How images are given: "folder", "npz" or "shards" (a tar, or a folder that holds some).

    Raises:
        DataError: there is nothing at `path`, or something else.
    """
    if path.is_dir():
        if not _tars(path):
            return "folder"
        if any(p.is_dir() and not p.name.startswith(".") for p in path.iterdir()):
            raise DataError(f"{path} holds shards (.tar) and folders; give one kind, in a folder of its own")
        return "shards"
    if not path.exists():
        raise DataError(f"{path} does not exist; give {FORMS}")
    form = {".npz": "npz", ".tar": "shards"}.get(path.suffix.lower())
    if form is None:
        raise DataError(f"{path} is a file, neither .npz nor .tar; give {FORMS}")
    return form


def read_given(path: Path, train: ImageSet, *, max_pixels: int = Machine.max_image_pixels) -> GivenImages:
    """The images at `path`, with the classes and the image shape of the training set.

    Images of another size are resized to fill it and cropped, those of another mode converted. A class may have no image.
    Files of more than `max_pixels` count as unreadable.

    Raises:
        DataError: nothing usable at `path`, no image at all, unreadable images, a number that is no class's.
        MismatchError: a class that the training set does not have.
    """
    read = {"folder": _in_folders, "npz": _in_arrays, "shards": _in_shards}[form_of(path)]
    channels, height, width = train.image_shape
    target = Target(path, train.class_names, (width, height), max_pixels, [])
    kept: list[Images] = []
    labels, names, bad = [], [], {}
    sizes, modes, conversions = Counter[str](), Counter[str](), Counter[str]()
    try:
        for name, label, decoded in read(target):
            if isinstance(decoded, str):
                bad[name] = decoded
                continue
            sizes["{}x{}".format(*decoded.size)] += 1
            modes[decoded.mode] += 1
            conversions.update(decoded.converted)
            rgb = decoded.pixels
            kept.append(rgb if channels == 3 else np.asarray(Image.fromarray(rgb.transpose(1, 2, 0)).convert("L"))[None])
            labels.append(label)
            names.append(name)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check its permissions") from error
    require_readable(bad, remedy=f"repair or remove them from {path}")
    if not kept:
        raise DataError(f"{path} has no images; give {FORMS}, with at least one image")
    images = ImageSet(np.stack(kept), np.array(labels, np.int64), train.class_names, path.name)
    missing = [name for name, count in zip(images.class_names, images.class_counts, strict=True) if count == 0]
    notes = [f"No synthetic image is given of class {listed(missing)}."] if missing else []
    notes += _changed("resized", sizes, f"{width}x{height}") + _changed("converted", modes, MODES[channels])
    notes += [f"Synthetic {conversions_note(conversions)}."] if conversions else []
    return GivenImages(images, tuple(names), (*notes, *target.notes))


class Target(NamedTuple):
    """What is read and for what: readers add a sentence to `notes` where a person should know more."""

    path: Path
    class_names: tuple[str, ...]
    size: tuple[int, int]  # (width, height)
    max_pixels: int
    notes: list[str]

    def labels(self, names: Iterable[str], *, folders: bool = False) -> dict[str, int]:
        """The class of each name, where folders' names may be escaped.

        Raises:
            MismatchError: a name is no class's.
        """
        known = {class_folder(name): k for k, name in enumerate(self.class_names)} if folders else {}
        known |= {name: k for k, name in enumerate(self.class_names)}
        names = list(names)
        if extra := [name for name in names if name not in known]:
            classes = f"its classes are {listed(list(self.class_names))}"
            raise MismatchError(f"{self.path}: the dataset has no class {listed(extra)} ({classes}); rename or remove it")
        return {name: known[name] for name in names}

    def note_numbers(self) -> None:
        last = len(self.class_names) - 1
        order = f"0 is {self.class_names[0]!r}, {last} is {self.class_names[last]!r}"
        self.notes.append(f"Classes are told by number, as places in the dataset's class order ({order}).")


def _in_folders(target: Target) -> Iterator[Found]:
    tree = list_tree(target.path, target.path)
    known = target.labels(tree.class_names, folders=True)
    if tree.ignored:
        ignored = "not images by their extension, outside the class folders or links in a circle"
        target.notes.append(f"Files ignored, {ignored}: {tree.ignored}.")
    paths = [file.path for file in tree.files]
    labels = [known[path.split("/")[0]] for path in paths]
    yield from map(Found, paths, labels, decode_all(target.path.joinpath, paths, target.size, max_pixels=target.max_pixels))


def _in_arrays(target: Target) -> Iterator[Found]:
    arrays = read_npz(target.path)
    images, labels = checked_pair(target.path, arrays, "")
    named = named_classes(target.path, arrays)
    own = named or target.class_names
    check_labels(target.path, "labels", labels, own)
    known = target.labels(own)
    if not named:
        target.note_numbers()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        picture = to_picture(np.ascontiguousarray(image.transpose(1, 2, 0)))
        yield Found(f"image {i}", known[own[label]], to_pixels(picture, target.size))


def _in_shards(target: Target) -> Iterator[Found]:
    tars = _tars(target.path) if target.path.is_dir() else [target.path]
    numbered = False
    for tar in tars:
        with tar.open("rb") as file, open_tar(file, str(tar)) as archive:
            samples = samples_in(archive, str(tar))
            classes = {label for _, label in samples}
            numbers = {text: int(text) for text in classes if re.fullmatch(r"-?\d{1,18}", text)}
            check_labels(tar, ".cls numbers", np.array([0, *numbers.values()]), target.class_names)
            known = target.labels(sorted(classes - numbers.keys())) | numbers
            numbered = numbered or bool(numbers)
            for member, label in samples:
                decoded = try_decode(content_of(archive, member), target.size, target.max_pixels)
                yield Found(f"{tar.name}/{member.name}", known[label], decoded)
    if numbered:
        target.note_numbers()


def _tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".tar" and path.is_file())


def _changed(done: str, found: Counter[str], wanted: str) -> list[str]:
    """The sentence on images that were not as wanted, if there are any."""
    others = [one for one in found if one != wanted]
    number = f"{found.total() - found[wanted]} of {found.total()}"
    return [f"{number} synthetic images are {done} to {wanted} (from {listed(others, 5)})."] if others else []
