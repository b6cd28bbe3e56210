"""Where kept images go: class folders, or one WebDataset shard for each part of a round, in the run or at a URL.

A store has four methods. `file` is the manifest's name for image `index` of a class, made in this part. `write` writes a part's
kept images, uint8 (C, H, W) each, with threads of `pool`, and returns their shard, if any. `drop` removes what may have been
written of a part that will not count, and `tidy` the half-written files of killed processes, once no process writes any more.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ltaug.data.imageset import Images
from ltaug.data.remote import is_url, make_folder, names_at, read_url, remove_url, require_backend, write_url
from ltaug.data.shards import Sample, Shard, tar_of
from ltaug.data.sheet import encoded
from ltaug.errors import DataError, OptionError
from ltaug.files import remove_halves, sync, whole_file, write_bytes
from ltaug.manifest import IMAGES, SHARDS, Row, image_key
from ltaug.runs import RUN_FILE, Run, read_run
from ltaug.synthesis.rounds import Part, Rounds

FOLDERS = "folders"
CLAIM = "ltaug-run"  # says which run a URL's shards belong to
PROBE = "ltaug-probe"
FILES_AT_ONCE = 4  # that wait for the disk together, as fsync takes most of the time of a small file


@dataclass(frozen=True)
class Folders:
    """images/CLASS/000123.png in the run directory."""

    run: Path

    def file(self, part: Part, class_name: str, index: int) -> str:
        return f"{IMAGES}/{image_key(class_name, index)}.png"

    def write(self, part: Part, rows: Sequence[Row], images: Sequence[Images], pool: Executor) -> Shard | None:
        files = [self.run / row.file for row in rows]
        list(pool.map(write_image, files, images))
        for folder in {file.parent for file in files}:
            sync(folder)
        return None

    def drop(self, part: Part) -> None:
        """Keep the files: an image is the same whichever part makes it."""

    def tidy(self) -> None:
        remove_halves(self.run / IMAGES, "**/.*")


@dataclass(frozen=True)
class Shards:
    """One tar for each part with kept images."""

    run: Path
    folder: str  # in the run directory, or a URL
    class_names: tuple[str, ...]

    def file(self, part: Part, class_name: str, index: int) -> str:
        return f"{self._tar(part)}/{image_key(class_name, index)}.png"

    def write(self, part: Part, rows: Sequence[Row], images: Sequence[Images], pool: Executor) -> Shard | None:
        if not rows:
            return None
        content = tar_of(map(self._sample, rows, pool.map(encoded, images)))
        tar = self._tar(part)
        if is_url(tar):
            write_url(tar, content)
        else:
            (self.run / tar).parent.mkdir(exist_ok=True)
            write_bytes(self.run / tar, content)
        return Shard(tar, len(rows), hashlib.sha256(content).hexdigest())

    def drop(self, part: Part) -> None:
        tar = self._tar(part)
        if is_url(tar):
            remove_url(tar)
        else:
            (self.run / tar).unlink(missing_ok=True)

    def tidy(self) -> None:
        if not is_url(self.folder):
            remove_halves(self.run / self.folder)

    def _tar(self, part: Part) -> str:
        return f"{self.folder}/{part.name}.tar"

    def _sample(self, row: Row, png: bytes) -> Sample:
        label = self.class_names.index(row.class_)
        about = {"class": row.class_, "label": label, "index": row.index, "sha256": row.sha256}
        return Sample(image_key(row.class_, row.index), png, label, about)


Store = Folders | Shards


def write_image(path: Path, image: Images) -> None:
    """Write uint8 (C, H, W) as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(encoded(image))


class RoundWriter:
    """Writes one part while the next is generated; a context manager that waits at its end until all is on the disk.

    A part is marked once all of its images are in place; after a failure, no further part is.
    """

    def __init__(self, store: Store, rounds: Rounds) -> None:
        self._store = store
        self._marks = rounds
        self._rounds = ThreadPoolExecutor(1, thread_name_prefix="round")
        self._files = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="image")
        self._underway: Future[None] | None = None

    def put(self, part: Part, rows: Sequence[Row], images: Sequence[Images]) -> None:
        """Start writing the kept images of a part, once the part before is written.

        Args:
            images: uint8 (C, H, W) each.

        Raises:
            OSError, DataError: the part before this one could not be written.
        """
        self._wait()
        self._underway = self._rounds.submit(self._write, part, rows, images)

    def _wait(self) -> None:
        underway, self._underway = self._underway, None
        if underway is not None:
            underway.result()

    def _write(self, part: Part, rows: Sequence[Row], images: Sequence[Images]) -> None:
        self._marks.mark(part, self._store.write(part, rows, images, self._files))

    def __enter__(self) -> RoundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._wait()
        finally:  # after an interruption, too, the part under way is completed
            self._rounds.shutdown()
            self._files.shutdown()


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
