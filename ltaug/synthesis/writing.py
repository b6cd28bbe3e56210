"""Writes a process's kept images in the background: first the images, then the mark that they are there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from ltaug.data.imageset import Images
from ltaug.synthesis.manifest import Row
from ltaug.synthesis.rounds import Part, Rounds
from ltaug.synthesis.stores import Store

FILES_AT_ONCE = 4  # that wait for the disk together, as fsync takes most of the time of a small file


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
