"""Output stays out of the folders that images are read from, where it would become images or classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ltaug.errors import OptionError
from ltaug.methods import SOURCES, parse_dataset

TEST_NAMES = ("test", "val", "validation")  # of folders of test images, beside train


def require_outside(out: Path, dataset: str) -> None:
    """Refuse output in the folder of a dataset, or in one that it links to as a class or a split.

    Raises:
        OptionError: `out`, or what a stage puts beside it (OUT.judges), would lie there, links and .. resolved.
    """
    name, argument = parse_dataset(dataset)
    if not SOURCES.about(name).path:
        return
    folder = Path(argument).expanduser()
    places = [_resolved(out), _resolved(out.parent)]
    for read in map(_resolved, (folder, *_links(folder))):
        if any(place.is_relative_to(read) for place in places):
            raise OptionError(f"--out {out} lies in {folder}, whose images it would change; name a directory outside that folder")


def _links(folder: Path) -> Iterator[Path]:
    """Links among the classes and splits of a folder dataset."""
    for parent in (folder, *(folder / split for split in ("train", *TEST_NAMES))):
        if parent.is_dir() and os.access(parent, os.R_OK | os.X_OK):
            yield from (path for path in parent.iterdir() if path.is_symlink())


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises on a link that leads to itself
