"""Where kept images go: class folders, or one WebDataset shard for each part of a round, in the run or at a URL."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ltaug.data.imageset import Images
from ltaug.data.remote import is_url, make_folder, names_at, read_url, remove_url, require_backend, write_url
from ltaug.data.shards import Sample, Shard, tar_of
from ltaug.errors import DataError, OptionError
from ltaug.files import atomic_write
from ltaug.runs import RUN_FILE, Run, read_run
from ltaug.synthesis.manifest import IMAGES, Row, image_file, image_key, png_of, write_image
from ltaug.synthesis.rounds import Part

FOLDERS, SHARDS = "folders", "shards"
CLAIM = "ltaug-run"  # says which run a URL's shards belong to
PROBE = "ltaug-probe"


class Store(Protocol):
    """Where the kept images of a run go."""

    def file(self, part: Part, class_name: str, index: int) -> str:
        """The manifest's name for the file of image `index` of a class, made in this part."""
        ...

    def write(self, part: Part, rows: Sequence[Row], images: Sequence[Images], pool: Executor) -> Shard | None:
        """Write a part's kept images; returns their shard, if any.

        Args:
            rows, images: uint8 (C, H, W) each, in the order of the candidates.
            pool: threads for the work on single images.
        """
        ...

    def drop(self, part: Part) -> None:
        """Remove what may have been written of a part that will not count."""
        ...

    def tidy(self) -> None:
        """Remove half-written files of killed processes, once no process writes any more."""
        ...


@dataclass(frozen=True)
class Folders:
    """images/CLASS/000123.png in the run directory."""

    run: Path

    def file(self, part: Part, class_name: str, index: int) -> str:
        return image_file(class_name, index)

    def write(self, part: Part, rows: Sequence[Row], images: Sequence[Images], pool: Executor) -> None:
        list(pool.map(partial(write_image, self.run), [row.file for row in rows], images))

    def drop(self, part: Part) -> None:
        """Keep the files: an image is the same whichever part makes it."""

    def tidy(self) -> None:
        _remove_halves(self.run / IMAGES, "png")


@dataclass(frozen=True)
class Shards:
    """One tar for each part with kept images.

    Attributes:
        folder: in the run directory, or a URL.
    """

    run: Path
    folder: str
    class_names: tuple[str, ...]

    def file(self, part: Part, class_name: str, index: int) -> str:
        return f"{self._tar(part)}/{image_key(class_name, index)}.png"

    def write(self, part: Part, rows: Sequence[Row], images: Sequence[Images], pool: Executor) -> Shard | None:
        if not rows:
            return None
        content = tar_of(map(self._sample, rows, pool.map(png_of, images)))
        tar = self._tar(part)
        if is_url(tar):
            write_url(tar, content)
        else:
            (self.run / tar).parent.mkdir(exist_ok=True)
            with atomic_write(self.run / tar) as file:
                file.write(content)
        return Shard(tar, len(rows), hashlib.sha256(content).hexdigest())

    def drop(self, part: Part) -> None:
        tar = self._tar(part)
        if is_url(tar):
            remove_url(tar)
        else:
            (self.run / tar).unlink(missing_ok=True)

    def tidy(self) -> None:
        if not is_url(self.folder):
            _remove_halves(self.run / self.folder, "tar")

    def _tar(self, part: Part) -> str:
        return f"{self.folder}/{part.name}.tar"

    def _sample(self, row: Row, png: bytes) -> Sample:
        label = self.class_names.index(row.class_)
        about = {"class": row.class_, "label": label, "index": row.index, "sha256": row.sha256}
        return Sample(image_key(row.class_, row.index), png, label, about)


def _remove_halves(folder: Path, suffix: str) -> None:
    """Remove the temporary files of files.atomic_write below a folder."""
    for path in folder.rglob(f".*.{suffix}.*"):
        path.unlink()


def open_store(images_to: str, run: Path, class_names: tuple[str, ...]) -> Store:
    """The store that the option names.

    Raises:
        OptionError: there is no such store, or no package for this kind of URL.
    """
    check_store(images_to)
    if images_to == FOLDERS:
        return Folders(run)
    return Shards(run, images_to.rstrip("/"), class_names)


def check_store(images_to: str) -> None:
    """Check the option before anything is computed; raises as `open_store` does."""
    if is_url(images_to):
        require_backend(images_to)
    elif images_to not in (FOLDERS, SHARDS):
        raise OptionError(f"--images-to {images_to!r} is not folders, shards or a URL such as s3://bucket/set; try shards")


def check_url(images_to: str, run: Path) -> None:
    """If images go to a URL, check that it can be written and, for a new run, that it holds no other set.

    Args:
        run: its directory, which may not exist yet.

    Raises:
        DataError: it cannot be written, or has shards already.
    """
    begun = (run / RUN_FILE).exists()
    if not is_url(images_to) or (begun and read_run(run)["status"] == "finished"):
        return
    url = images_to.rstrip("/")
    found = [name for name in names_at(url) if name.endswith(".tar")]
    if found and not begun:
        raise DataError(f"{url} holds {len(found)} shards of another set ({min(found)}, ...); empty it, or name another URL")
    make_folder(url)
    write_url(f"{url}/{PROBE}", b"")
    remove_url(f"{url}/{PROBE}")


def claim_url(images_to: str, run: Run) -> None:
    """If images go to a URL, mark it as this run's, so that no other run writes there.

    Raises:
        DataError: it is marked as another run's.
    """
    if not is_url(images_to):
        return
    url = images_to.rstrip("/")
    if "claim" not in run.record["facts"]:
        run.note(claim=uuid.uuid4().hex)
        run.save()
    mine = str(run.record["facts"]["claim"]).encode()
    try:
        found = read_url(f"{url}/{CLAIM}")
    except FileNotFoundError:
        write_url(f"{url}/{CLAIM}", mine)
        return
    if found != mine:
        raise DataError(f"{url} belongs to another run ({CLAIM} there is not of {run.path}); name another URL")
