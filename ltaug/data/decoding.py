"""Many image files decoded by a few threads, in order, each with what is wrong with it where it cannot be."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from ltaug.data.pixels import UNREADABLE, Decoded, decode

_TASK = 64  # files a task of the thread pool; one task a file would cost more memory than the images of a large set


def decode_all(
    root: Path, paths: Sequence[str], image_size: int | None, *, threads: int | None = None
) -> Iterator[Decoded | str]:
    """The image of each path, in order, or what is wrong with it.

    Args:
        threads: that decode [default: as many as processors, at most 8].
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
