"""Sets that torchvision knows by name (methods.VISION): arrays as they are, image files through the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ltaug.data.cache import File, state_of
from ltaug.data.imageset import ImageSet, Labels
from ltaug.data.parts import Part, read_parts
from ltaug.data.sources import Request, Splits, channels_first, data_directory, image_set
from ltaug.errors import DataError
from ltaug.methods import VISION

_MISSING = (OSError, RuntimeError, ValueError, AssertionError)  # what torchvision raises where files are missing or damaged


def read_vision(request: Request) -> Splits:
    """A set of torchvision from the data directory; test images are held out where it has no test split.

    Raises:
        DataError: it is missing or damaged and `download` is off, or the download failed; see `read_parts`.
    """
    import torchvision.datasets

    name = request.argument
    dataset, splits = VISION[name]
    folder, download = request.machine.data_dir or data_directory(), request.machine.download
    try:
        sets = [getattr(torchvision.datasets, dataset)(folder, **split, download=download) for split in splits]
    except _MISSING as error:
        if download:
            raise DataError(f"{name} could not be downloaded to {folder} ({error}); put the files there, or try again") from error
        raise DataError(f"{name} is not in {folder}, or damaged; pass --download, or --data-dir with its folder") from error
    if hasattr(sets[0], "data"):
        train, test = (_arrays(part, name, request.image_size) for part in sets)
        return Splits(train, test)
    pairs = [_files(part) for part in sets]
    parts = [Part([_file(path, folder) for path, _ in of], np.array([label for _, label in of], np.int64)) for of in pairs]
    return read_parts(folder, _class_names(sets[0], parts[0].labels), parts, request, source=name)


def _arrays(part: Any, name: str, image_size: int | None) -> ImageSet:
    images, labels = channels_first(np.asarray(part.data)), np.asarray(_first(part, "targets", "labels"), np.int64)
    assert images is not None
    return image_set(images, labels, _class_names(part, labels), name, image_size)


def _files(part: Any) -> list[tuple[str, int]]:
    """Path and label of every image."""
    if found := _first(part, "samples", "_samples"):
        return list(found)
    return list(zip(_first(part, "_image_files", "_images"), part._labels, strict=True))


def _file(path: str, folder: Path) -> File:
    return File(Path(os.path.relpath(path, folder)).as_posix(), state_of(Path(path)))


def _class_names(part: Any, labels: Labels) -> tuple[str, ...]:
    """The names, or numbers where the set has none (SVHN, GTSRB)."""
    return tuple(_first(part, "classes") or map(str, range(int(labels.max()) + 1)))


def _first(part: Any, *names: str) -> Any:
    """The first of these attributes that is there; None if none is."""
    return next((getattr(part, name) for name in names if hasattr(part, name)), None)
