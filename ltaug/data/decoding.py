"""Decode many image files with a few threads, in order; a file that cannot be decoded gives a text that says why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from ltaug.data.pixels import UNREADABLE, Decoded, decode

_TASK = 64  # files per task of the thread pool; one task per file would take more memory than the images of a large set


def decode_all(
    root: Path, paths: Sequence[str], image_size: int | None, *, threads: int | None = None
) -> Iterator[Decoded | str]:
    """For each path, in order, its image or what is wrong with it.

    Args:
        threads: how many decode [default: one per processor, at most 8].
    """

    def block(start: int) -> list[Decoded | str]:
        return [_decode(root / path, image_size) for path in paths[start : start + _TASK]]

    workers = threads or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # large images, odd palettes and EXIF are dealt with here
        try:
            starts = iter(range(0, len(paths), _TASK))
            waiting = [pool.submit(block, start) for start in islice(starts, 2 * workers)]
            while waiting:
                yield from waiting.pop(0).result()
                if (start := next(starts, None)) is not None:
                    waiting.append(pool.submit(block, start))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode(path: Path, image_size: int | None) -> Decoded | str:
    try:
        return decode(path, image_size=image_size)
    except UNREADABLE as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error) or type(error).__name__
    return "not an image" if text.startswith("cannot identify image file") else text
