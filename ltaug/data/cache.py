"""Arrays that are made once and kept under the user's cache directory, never beside the data: decoded images and the like."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from ltaug.data.decoding import Content, decode_all
from ltaug.data.imageset import BLOCK, Images, hash_images
from ltaug.errors import CorruptError, DataError, ResourceError, resource_error
from ltaug.files import HALF, atomic_directory, read_json, remove_halves, verify_changed, verify_directory
from ltaug.formats import CACHE
from ltaug.machine import Machine

FOLDERS = FOLDER, LATENTS, INDICES = "images", "latents", "indices"  # of the cache, a folder an entry
ENTRY = IMAGES, HASHES, ABOUT = "images.npy", "hashes.npy", "files.json"  # beside them is the manifest of their digests
DERIVED = "array.npy"
Progress = Callable[[str, int, int], None]
Array = npt.NDArray[Any]
How = tuple[int | None, int]  # `image_size` and the machine's limit of pixels


class File(NamedTuple):
    """An image file: its path relative to the data's folder, and its state, which changes with its content (`state_of`)."""

    path: str
    state: str


def state_of(file: Path | os.DirEntry[str]) -> str:
    """A file's size and modification time."""
    try:
        stat = file.stat()
    except (OSError, ValueError) as error:  # a broken link, or no such file: decoding reports it as unreadable
        return str(getattr(error, "strerror", error))
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


class DecodedFiles(NamedTuple):
    """What a list of files decoded to.

    The images are a read-only memory map, uint8 (M, C, H, W), of the M files that could be read, in the order given; C is 1
    if every image is grey, else 3.
    """

    images: Images
    hashes: Images  # `hash_images` of them, (M, 32)
    bad: dict[str, str]  # the paths of the other files, with what is wrong with each
    converted: dict[str, int]  # how many images show something otherwise than their file has it, by what that is


def cache_directory() -> Path:
    """$LTAUG_CACHE, else $XDG_CACHE_HOME/ltaug, else ~/.cache/ltaug."""
    if own := os.environ.get("LTAUG_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "ltaug"


def entries_in(directory: Path) -> list[Path]:
    """The entries of the cache in a directory, and what killed processes left of some; nothing else that lies there."""
    name = re.compile(rf"[0-9a-f]{{64}}|\.[0-9a-f]{{64}}\..*{re.escape(HALF)}")
    return sorted(path for folder in FOLDERS for path in (directory / folder).glob("*") if name.fullmatch(path.name))


def lock_of(entry: Path) -> Path:
    """The lock of an entry, or of what a killed process left of it, in a folder that exists."""
    folder = entry.parent.with_name("locks")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / entry.name.removeprefix(".").partition(".")[0]


def read_files(
    root: Path,
    files: Sequence[File],
    *,
    image_size: int | None,
    machine: Machine,
    progress: Progress | None,
    content: Content | None = None,
) -> DecodedFiles:
    """Decode `files` under `root`, or open what an earlier call left in the cache.

    Args:
        content: of each file by its path [default: what lies there under `root`].

    The cache is keyed by the folder, every file's path, size and modification time, `image_size` and --max-image-pixels. It keeps
    each image's hash beside the pixels, so that sets are compared without reading pixels again. If several processes ask for the
    same files, one decodes them and the others wait.

    Raises:
        DataError: files that cannot be read (all found, the first 10 named) unless --skip-bad; images of different
            size without `image_size`; a cache directory that may not be written.
        ResourceError: its disk is full or fails.
        CorruptError: the cache is damaged. The small files of an entry are verified at every start, the pixels where their file's
            size, time or inode is another than when they last were, or with --verify.
    """
    how, skip_bad = (image_size, machine.max_image_pixels), machine.skip_bad
    target = cache_directory() / FOLDER / _key(root, files, how)

    def fill(folder: Path) -> None:
        _describe(folder, root, *_build(folder, content or root.joinpath, [file.path for file in files], how, progress, skip_bad))

    def waiting() -> None:
        if progress is not None:
            progress("waiting for another process to decode these images", 0, len(files))

    _entry(target, fill, waiting)
    return _open(target, skip_bad, verify=machine.verify)


def keep_images(
    root: Path, key: str, shape: tuple[int, ...], images: Iterable[tuple[int, Images]], *, machine: Machine
) -> DecodedFiles:
    """Images that something else decodes, or what an earlier call with this key left in the cache.

    Args:
        root: where they come from, for people.
        key: SHA-256 of what decides on every pixel, hexadecimal.
        shape: (N, C, H, W).
        images: each one, uint8 (C, H, W), with its place; read only if they are not in the cache.

    Raises:
        As `read_files`, and what `images` raises.
    """

    def fill(folder: Path) -> None:
        array = _allocate(folder / IMAGES, shape)
        for i, image in images:
            array[i] = image
        array.flush()
        _describe(folder, root, {}, {})

    target = cache_directory() / FOLDER / key
    _entry(target, fill)
    return _open(target, False, verify=machine.verify)


def derived(folder: str, key: str, make: Callable[[Callable[[tuple[int, ...], npt.DTypeLike], Array]], None]) -> Array:
    """The array of this key in a folder of the cache, as a read-only memory map; a damaged one is made again.

    Args:
        folder: one of FOLDERS.
        key: SHA-256 of all that the array depends on.
        make: fills the array that it gets from its argument, a function of shape and type.

    Raises:
        DataError: the cache may not be written, or its disk has too little room.
        ResourceError: its disk is full or fails.
    """
    target = cache_directory() / folder / key
    if target.is_dir():
        try:
            verify_changed(target, [DERIVED], lambda: verify_directory(target, [DERIVED]))
        except CorruptError:
            shutil.rmtree(target)
    _entry(target, lambda at: make(lambda shape, dtype: _allocate(at / DERIVED, shape, dtype)))
    return cast(Array, np.load(target / DERIVED, mmap_mode="r", allow_pickle=False))


def require_readable(bad: dict[str, str], *, remedy: str = "repair or remove them, or pass --skip-bad to leave them out") -> None:
    """Raise DataError naming the unreadable files, if there are any."""
    if not bad:
        return
    named = "; ".join(f"{path} ({reason})" for path, reason in list(bad.items())[:10])
    more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
    count = "1 image" if len(bad) == 1 else f"{len(bad)} images"
    raise DataError(f"{count} cannot be read: {named}{more}; {remedy}")


def conversions_note(converted: Mapping[str, int]) -> str:
    """How many images show something otherwise than their file has it, as a note."""
    return f"images converted: {', '.join(f'{what} ({count})' for what, count in sorted(converted.items()))}"


def _key(root: Path, files: Sequence[File], how: How) -> str:
    # The folder is part of the key: archives often unpack with one time for all files, and uncompressed images of
    # two data sets can share names and sizes as well.
    key = hashlib.sha256(repr((CACHE, how, str(root.resolve()))).encode())
    for file in files:
        key.update(f"{file.path}\0{file.state}\n".encode("utf-8", "surrogateescape"))
    return key.hexdigest()


def _entry(target: Path, fill: Callable[[Path], None], tell_of_waiting: Callable[[], None] = lambda: None) -> None:
    """Make an entry, whole or not at all, where it is not there; if several processes want it, one makes it and the others wait.

    Args:
        fill: writes the entry's files into an empty folder.

    Raises:
        DataError: the cache may not be written.
        ResourceError: its disk is full or fails.
    """
    if target.is_dir():
        return
    try:
        with _alone(target, tell_of_waiting):
            if not target.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic_directory(target) as folder:
                    fill(folder)
    except OSError as error:
        kind = ResourceError if resource_error(error) else DataError
        raise kind(f"{target.parent} cannot be written ({error}); set LTAUG_CACHE to another folder") from error


@contextmanager
def _alone(target: Path, tell_of_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this entry, and remove what killed processes left of it."""
    lock = FileLock(lock_of(target))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell_of_waiting()
        lock.acquire()
    try:
        remove_halves(target.parent, f".{target.name}*")
        yield
    finally:
        lock.release()


def _describe(folder: Path, root: Path, bad: Mapping[str, str], converted: Mapping[str, int]) -> None:
    """Write what an entry says beside its images."""
    images = np.load(folder / IMAGES, mmap_mode="r")
    np.save(folder / HASHES, hash_images(images))
    meta = {"root": str(root), "images": len(images), "bad": bad, "converted": converted}
    (folder / ABOUT).write_text(json.dumps(meta), encoding="utf-8")


def _build(
    folder: Path, content: Content, paths: Sequence[str], how: How, progress: Progress | None, skip_bad: bool
) -> tuple[dict[str, str], Counter[str]]:
    """Decode into folder/IMAGES; returns the unreadable files and the conversions (`DecodedFiles`)."""
    bad: dict[str, str] = {}
    kept: list[int] = []
    converted = Counter[str]()
    grey = 0
    images: Any = None
    first = ""
    image_size, max_pixels = how
    outcomes = decode_all(content, paths, None if image_size is None else (image_size, image_size), max_pixels=max_pixels)
    for done, (path, outcome) in enumerate(zip(paths, outcomes, strict=True)):
        if progress is not None and ((done + 1) % 256 == 0 or done + 1 == len(paths)):
            progress("decoding images", done + 1, len(paths))
        if isinstance(outcome, str):
            bad[path] = outcome
            continue
        if images is None:
            first = path
            images = _allocate(folder / "all.npy", (len(paths), *outcome.pixels.shape))
        if outcome.pixels.shape != images.shape[1:]:
            sizes = [f"{shape[2]}x{shape[1]}" for shape in (images.shape[1:], outcome.pixels.shape)]
            raise DataError(f"images differ in size: {first} has {sizes[0]} pixels, {path} {sizes[1]}; give --image-size")
        images[done] = outcome.pixels
        kept.append(done)
        converted.update(outcome.converted)
        grey += outcome.grey
    if not skip_bad or images is None:
        require_readable(bad)
    assert images is not None, "there is at least one path"
    all_grey = grey == len(kept)
    if grey and not all_grey:
        converted["grey to RGB"] = grey
    if not bad and not all_grey:
        images.flush()
        (folder / "all.npy").rename(folder / IMAGES)
        return bad, converted
    compact = _allocate(folder / IMAGES, (len(kept), 1 if all_grey else 3, *images.shape[2:]))
    for start in range(0, len(kept), BLOCK):
        compact[start : start + BLOCK] = images[kept[start : start + BLOCK], : compact.shape[1]]
    compact.flush()
    (folder / "all.npy").unlink()
    return bad, converted


def _allocate(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> Any:
    """A writable map of a new file. Free space is checked first: writing to a map on a full disk kills the process."""
    needed, free = int(np.prod(shape)) * np.dtype(dtype).itemsize, shutil.disk_usage(path.parent).free
    if needed > free:
        room = f"{needed / 1e9:.1f} GB in {path.parent.parent}, {free / 1e9:.1f} GB are free"
        raise DataError(
            f"the images, decoded or encoded, need {room}; set LTAUG_CACHE to a larger disk or give a smaller --image-size"
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _open(target: Path, skip_bad: bool, *, verify: bool) -> DecodedFiles:
    verify_directory(target, ENTRY, read=(HASHES, ABOUT))
    verify_changed(target, [IMAGES], lambda: verify_directory(target, ENTRY), always=verify)
    meta: dict[str, Any] = read_json(target / ABOUT)
    images = np.load(target / IMAGES, mmap_mode="r", allow_pickle=False)
    hashes = np.load(target / HASHES, allow_pickle=False)
    if not skip_bad:
        require_readable(meta["bad"])
    return DecodedFiles(images, hashes, meta["bad"], meta["converted"])
