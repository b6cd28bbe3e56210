"""Rounds of candidates written in the background: a round's images first, then its rows in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from ltaug.data.imageset import Images
from ltaug.synthesis.manifest import Row, pixel_digest, rows_to_csv, write_image

JOURNAL = "candidates.csv"
ENDED = b"\n"  # an empty line ends a complete round
FILES_AT_ONCE = 4  # so that they wait for the disk together: fsync is most of the time of a small file


class RoundWriter:
    """Writes one round while the next is generated; a context manager that leaves when what was put is on the disk.

    A round's rows reach the journal only when all of its files are in place, and no round does after one that failed.

    Attributes:
        rows: of the rounds journalled so far.
    """

    def __init__(self, run: Path) -> None:
        self.rows: list[Row] = []
        self._run = run
        self._rounds = ThreadPoolExecutor(1, thread_name_prefix="round")
        self._files = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="image")
        self._underway: Future[None] | None = None

    def put(self, rows: Sequence[Row], images: Sequence[Images]) -> None:
        """Have a round written, once the one before it is.

        Args:
            rows: of the candidates, without `sha256`; those with a `file` are written.
            images: uint8 (C, H, W) each.

        Raises:
            OSError: the round before this one could not be written.
        """
        self._wait()
        self._underway = self._rounds.submit(self._write, rows, images)

    def _wait(self) -> None:
        underway, self._underway = self._underway, None
        if underway is not None:
            underway.result()

    def _write(self, rows: Sequence[Row], images: Sequence[Images]) -> None:
        written = list(self._files.map(partial(_written, self._run), rows, images))
        with (self._run / JOURNAL).open("ab") as journal:
            journal.write(rows_to_csv(written, header=False) + ENDED)
        self.rows += written

    def __enter__(self) -> RoundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._wait()
        finally:  # an interruption, too, lets the round underway be completed
            self._rounds.shutdown()
            self._files.shutdown()


def _written(run: Path, row: Row, image: Images) -> Row:
    """The row with its image's digest, the image being in place if the row says so."""
    if row.file:
        write_image(run, row.file, image)
    return replace(row, sha256=pixel_digest(image))
