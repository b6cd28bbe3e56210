"""Where kept images go once all are made: class folders, or WebDataset shards, in the run or at a URL."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ltaug.data.remote import is_url, make_folder, names_at, read_url, remove_url, require_backend, write_url
from ltaug.data.shards import Sample, Shard, tar_of
from ltaug.errors import DataError, OptionError
from ltaug.files import remove_halves, sync, whole_file, write_bytes
from ltaug.manifest import IMAGES, SHARDS, Row, image_key
from ltaug.runs import RUN_FILE, Run, read_run
from ltaug.synthesis.parts import read_pngs

FOLDERS = "folders"
CLAIM = "ltaug-run"  # says which run a URL's shards belong to
PROBE = "ltaug-probe"
FILES_AT_ONCE = 4  # that wait for the disk together, as fsync takes most of the time of a small file
SHARD = 1000  # images in each but the last


def write_kept(
    kept: Sequence[tuple[Row, Path]], images_to: str, run: Path, class_names: Sequence[str], tell: Callable[[str, int, int], None]
) -> tuple[list[Row], list[Shard]]:
    """Write the images of rows, each out of the part that it is in; the rows with their files, and the shards, if any.

    What an earlier call wrote is written again, to the same files. Every shard has images of all classes, as long as there
    are any, since other programs read one shard after another. `tell` hears of progress as Run.event does.

    Raises:
        CorruptError: a part is damaged.
        DataError: the URL cannot be written.
    """
    number = {name: c for c, name in enumerate(class_names)}
    kept = sorted(kept, key=lambda one: (one[0].index, number[one[0].class_]))
    rows, shards = list[Row](), list[Shard]()
    for first in range(0, len(kept), SHARD):
        chunk, pngs = [row for row, _ in kept[first : first + SHARD]], read_pngs(kept[first : first + SHARD])
        where = IMAGES if images_to == FOLDERS else f"{images_to.rstrip('/')}/{len(shards):06d}.tar"
        rows += [replace(row, file=f"{where}/{image_key(row.class_, row.index)}.png") for row in chunk]
        if images_to == FOLDERS:
            _write_files([run / row.file for row in rows[first:]], pngs)
        else:
            samples = (_sample(row, number[row.class_], png) for row, png in zip(chunk, pngs, strict=True))
            shards.append(_write_shard(run, where, tar_of(samples), len(chunk)))
        tell("writing images", len(rows), len(kept))
    remove_halves(run / IMAGES, "**/.*")
    return rows, shards


def _sample(row: Row, label: int, png: bytes) -> Sample:
    about = {"class": row.class_, "label": label, "index": row.index, "sha256": row.sha256}
    return Sample(image_key(row.class_, row.index), png, label, about)


def _write_shard(run: Path, tar: str, content: bytes, images: int) -> Shard:
    if is_url(tar):
        write_url(tar, content)
    else:
        (run / tar).parent.mkdir(exist_ok=True)
        remove_halves((run / tar).parent, f".{Path(tar).name}*")
        write_bytes(run / tar, content)
    return Shard(tar, images, hashlib.sha256(content).hexdigest())


def _write_files(files: Sequence[Path], contents: Sequence[bytes]) -> None:
    folders = {file.parent for file in files}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="image") as pool:
        list(pool.map(_write_file, files, contents))
    for folder in folders:
        sync(folder)


def _write_file(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)


def check_store(images_to: str) -> None:
    """Check the option before anything is computed.

    Raises:
        OptionError: there is no such place, or no package for this kind of URL.
    """
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
