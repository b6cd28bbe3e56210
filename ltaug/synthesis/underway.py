"""What an unfinished synthesis has made so far, read back."""

from __future__ import annotations

from pathlib import Path

from ltaug.data.shards import read_images, read_shard
from ltaug.manifest import KEPT
from ltaug.runs import read_run
from ltaug.synthesis.candidates import Tally, gathered
from ltaug.synthesis.course import recorded_course
from ltaug.synthesis.rounds import MARK, ROWS, Rounds


def verify_underway(run: Path) -> None:
    """Read the rows of every complete round, and the images of its parts that are marked as written.

    Raises:
        CorruptError: rows are damaged or of other candidates; a shard or an image is missing or damaged.
        DataError: a shard's URL cannot be read.
    """
    record, rounds = read_run(run), Rounds(run)
    budget, course = record["options"]["budget"], recorded_course(record)
    tally = Tally(list(budget.values()), record["options"]["synthesize"]["max_candidates"])
    for number in rounds.numbers():
        parts = course.parts(number)
        if rounds.without(ROWS, parts):
            return
        keys = tally.next_round(parts[0].size)
        rows = gathered(parts, rounds, keys, list(budget))
        counts = tally.count(keys, [row.verdict for row in rows])
        unwritten = rounds.without(MARK, parts)
        for rank, part in enumerate(parts):
            if part in unwritten:
                continue
            shard, mine = rounds.shard(part), slice(rank, None, len(parts))
            if shard is None:
                kept = [row for row, counted in zip(rows[mine], counts[mine], strict=True) if counted and row.verdict == KEPT]
                list(read_images(run, [row.file for row in kept], [row.sha256 for row in kept]))
            else:
                read_shard(run, shard)
