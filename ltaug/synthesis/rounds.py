"""The files in which the processes of one synthesis meet: each one's rows of a round, and a mark once its images are written.

    rounds/000012/1-of-4x256.csv    rank 1 of 4 has judged its share of round 12, a round of 256 candidates
    rounds/000012/1-of-4x256.done   and its kept images are in place

Both appear complete or not at all and never change; they are removed if another number of processes makes the round again.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltaug.data.shards import Shard
from ltaug.errors import CorruptError
from ltaug.files import read_json, verify_json, write_bytes, write_json
from ltaug.manifest import Row, csv_to_rows, rows_to_csv
from ltaug.meeting import names_in, wait_until

FOLDER = "rounds"
ROWS, MARK = "csv", "done"


@dataclass(frozen=True)
class Part:
    """What rank `rank` of `world` makes of round `number`, a round of `size` candidates."""

    number: int
    rank: int
    world: int
    size: int

    @property
    def name(self) -> str:
        """Unique among the parts of a run that count."""
        return f"{self.number:06d}-{self.rank}-of-{self.world}"

    def file(self, kind: str) -> str:
        return f"{self.rank}-of-{self.world}x{self.size}.{kind}"

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


class Rounds:
    """The rounds of one run."""

    def __init__(self, run: Path) -> None:
        self._path = run / FOLDER

    def publish(self, part: Part, rows: Sequence[Row]) -> None:
        """Let the others see the rows of a part."""
        folder = self._of(part.number)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / part.file(ROWS), rows_to_csv(rows, header=False))

    def mark(self, part: Part, shard: Shard | None) -> None:
        """Mark the images of a part as written, with their shard, if any."""
        write_json(self._of(part.number) / part.file(MARK), None if shard is None else dataclasses.asdict(shard))

    def unmark(self, part: Part) -> None:
        """Remove the mark of a part."""
        (self._of(part.number) / part.file(MARK)).unlink(missing_ok=True)

    def without(self, kind: str, parts: Sequence[Part]) -> list[Part]:
        """Those parts of one round whose rows (ROWS) are not published, or which are not marked (MARK)."""
        names = names_in(self._of(parts[0].number))
        return [part for part in parts if part.file(kind) not in names]

    def rows(self, part: Part) -> list[Row]:
        return csv_to_rows((self._of(part.number) / part.file(ROWS)).read_bytes(), header=False)

    def shard(self, part: Part) -> Shard | None:
        """The shard with the images of a marked part, if any; raises CorruptError where the mark is damaged."""
        path = self._of(part.number) / part.file(MARK)
        verify_json(path)
        found = read_json(path)
        if found is None:
            return None
        if not isinstance(found, dict) or found.keys() != {f.name for f in dataclasses.fields(Shard)}:
            raise CorruptError(f"{path} does not name a shard; delete the run and make it again")
        return Shard(**found)

    def complete(self, parts: Sequence[Part]) -> bool:
        """Whether all parts of a round are published and marked."""
        return not self.without(ROWS, parts) and not self.without(MARK, parts)

    def wait_for_rows(self, parts: Sequence[Part], tell: Callable[[str], None], over: Callable[[], bool]) -> bool:
        """Whether all parts of a round are published, as soon as they are; not if meanwhile all is `over`."""

        def missing() -> str | None:
            late = self.without(ROWS, parts)
            return None if not late or over() else f"Waiting for {_and(late)} in round {parts[0].number + 1}."

        wait_until(missing, tell)
        return not self.without(ROWS, parts)

    def wait_for_markers(self, parts: Sequence[Part], tell: Callable[[str], None]) -> None:
        """Return as soon as all parts of a round are marked."""

        def missing() -> str | None:
            late = self.without(MARK, parts)
            again = "start it again if it has ended"
            return f"Waiting for {_and(late)} to write images of round {parts[0].number + 1}; {again}." if late else None

        wait_until(missing, tell)

    def clear(self, numbers: Sequence[int]) -> None:
        """Remove these rounds."""
        for number in numbers:
            shutil.rmtree(self._of(number))

    def remove(self) -> None:
        """Remove all rounds, once the manifest holds their rows."""
        shutil.rmtree(self._path, ignore_errors=True)

    def numbers(self) -> list[int]:
        """The rounds that were begun, in order."""
        return sorted(int(name) for name in names_in(self._path) if name.isdecimal())

    def _of(self, number: int) -> Path:
        return self._path / f"{number:06d}"


def _and(parts: Sequence[Part]) -> str:
    shown = ", ".join(str(part.rank) for part in parts[:6]) + (", ..." if len(parts) > 6 else "")
    return f"{'rank' if len(parts) == 1 else 'ranks'} {shown} of {parts[0].world}"
