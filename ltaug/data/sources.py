"""Sources of images that need no decoding: scikit-learn's digits and arrays in a .npz file."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.data.cache import Progress
from ltaug.data.decoding import resize_all
from ltaug.data.imageset import Images, ImageSet, Labels
from ltaug.data.longtail import hold_out, listed
from ltaug.errors import DataError, MismatchError
from ltaug.machine import Machine

DIGITS_TEST_PER_CLASS = 50


@dataclass(frozen=True)
class Request:
    """What a source is asked for."""

    argument: str  # the path in NAME:PATH or of the file; otherwise the dataset's name
    image_size: int | None = None  # as in DatasetOptions, like the next
    test_per_class: int | None = None
    machine: Machine = Machine()  # noqa: RUF009
    progress: Progress | None = None


@dataclass(frozen=True)
class Splits:
    """All the images of a source."""

    train: ImageSet  # before any draw
    test: ImageSet
    notes: tuple[str, ...] = ()  # what a person should know about them
    held_out: bool = False  # the source has no test split, so that the test images are held out from training


def read_digits(request: Request) -> Splits:
    """scikit-learn's 1,797 handwritten digits: 8x8, grey; 50 a class for testing unless asked otherwise."""
    # scikit-learn's own file, without load_digits: importing that takes longer than all else `ltaug inspect` does.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = np.rint(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    class_names = tuple(map(str, range(10)))
    everything = image_set(images, table[:, -1].astype(np.int64), class_names, "digits", request.image_size)
    per_class = request.test_per_class or DIGITS_TEST_PER_CLASS
    train, test, notes = hold_out(everything.labels, class_names, per_class=per_class)
    return Splits(everything.take(train), everything.take(test), notes, held_out=True)


def data_directory() -> Path:
    """$LTAUG_DATA, else ~/.cache/ltaug/datasets."""
    own = os.environ.get("LTAUG_DATA")
    return Path(own).expanduser() if own else Path.home() / ".cache" / "ltaug" / "datasets"


def image_set(images: Images, labels: Labels, class_names: tuple[str, ...], source: str, image_size: int | None) -> ImageSet:
    """Images of an array, resized to `image_size` if it is given."""
    return ImageSet(resize_all(images, image_size) if image_size else images, labels, class_names, source)


def read_arrays(request: Request) -> Splits:
    """A .npz file with images and labels, and optionally class_names, test_images and test_labels.

    Images are uint8, (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3; labels are whole numbers from 0. No image needs
    to be a test image: where test_images are empty, all others are trained on.

    Raises:
        DataError: no such file, a missing array, or one of another type, shape or range.
        MismatchError: training and test images differ in shape.
    """
    path = Path(request.argument).expanduser()
    arrays = read_npz(path)
    images, labels = checked_pair(path, arrays, "")
    class_names = named_classes(path, arrays) or tuple(map(str, range(max(int(labels.max()), 0) + 1)))
    check_labels(path, "labels", labels, class_names)
    counts = np.bincount(labels, minlength=len(class_names))
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        raise DataError(f"{path}: no images for class {listed(empty)}; add some, or relabel")
    train = image_set(images, labels, class_names, str(path), request.image_size)
    if "test_images" not in arrays and "test_labels" not in arrays:
        train_index, test_index, notes = hold_out(labels, class_names, per_class=request.test_per_class)
        return Splits(train.take(train_index), train.take(test_index), notes, held_out=True)
    test_images, test_labels = checked_pair(path, arrays, "test_")
    check_labels(path, "test_labels", test_labels, class_names)
    if test_images.shape[1:] != images.shape[1:]:
        shapes = ["x".join(str(n) for n in (*a.shape[2:], a.shape[1])) for a in (images, test_images)]
        raise MismatchError(f"{path}: images are {shapes[0]}, test_images {shapes[1]}; make them the same")
    return Splits(train, image_set(test_images, test_labels, class_names, str(path), request.image_size))


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; name a .npz file with images and labels")
    try:
        if not zipfile.is_zipfile(path):  # numpy would take it for a pickle, or for one array
            raise zipfile.BadZipFile("it is not a .npz file")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); write it with numpy.savez, without object arrays") from error


def named_classes(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    """The class names in a .npz file, empty where it has none; raises DataError if one is there twice or is not text."""
    names = tuple(str(name) for name in arrays.get("class_names", np.array([])).ravel())
    if wrong := [name for name in names if name != name.encode(errors="replace").decode()]:
        raise DataError(f"{path}: the class name {wrong[0]!a} is not text that UTF-8 can write; rename it")
    if len(set(names)) != len(names):
        raise DataError(f"{path}: class_names repeats a name; give each class its own")
    return names


def checked_pair(path: Path, arrays: dict[str, npt.NDArray[Any]], prefix: str) -> tuple[Images, Labels]:
    for name in (f"{prefix}images", f"{prefix}labels"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}, only {listed(sorted(arrays))}; add it")
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    if images.dtype != np.uint8:
        raise DataError(f"{path}: {prefix}images are {images.dtype}; convert them to uint8, 0 to 255")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1] or len(labels) == len(prefix) == 0:
        got = f"{prefix}labels are {labels.dtype} {labels.shape}, {prefix}images {images.shape}"
        raise DataError(f"{path}: {got}; give one whole number for each image, and at least one image")
    if (as_images := channels_first(images)) is None:
        allowed = "(N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3"
        raise DataError(f"{path}: {prefix}images have shape {images.shape}; give {allowed}")
    return as_images, labels.astype(np.int64)


def channels_first(images: Images) -> Images | None:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W) with C of 1 or 3; None if they are of another shape."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images if images.ndim == 4 and images.shape[1] in (1, 3) else None


def check_labels(path: Path, name: str, labels: Labels, class_names: tuple[str, ...]) -> None:
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        limit = len(class_names) - 1
        raise DataError(f"{path}: {name} run from {labels.min()} to {labels.max()}; they must lie between 0 and {limit}")
