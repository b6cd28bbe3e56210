"""Candidates: which come next, and some of them generated, judged and put on the disk as a part."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from ltaug.data.imageset import Images, pixel_digest
from ltaug.generator.generate import GeneratedImages, Key
from ltaug.manifest import KEPT, Row
from ltaug.synthesis.parts import write_part
from ltaug.synthesis.select import Candidates, Selection
from ltaug.synthesis.starts import Starts
from ltaug.synthesis.withdrawal import WITHDRAWN, Withdrawal

ENCODERS = 4  # threads


@dataclass(frozen=True)
class Share:
    """One of `world` shares of a synthesis: of every class, each world-th candidate from the rank-th on."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> int:
        """How many of a class's first `count` candidates are in the share."""
        return (count - self.rank + self.world - 1) // self.world

    def whole(self, key: Key) -> Key:
        """A candidate of the share, as it is counted in the whole."""
        return key[0], key[1] * self.world + self.rank

    def own(self, key: Key) -> Key | None:
        """A candidate of the whole as it is counted in the share, if it is in it."""
        return (key[0], key[1] // self.world) if key[1] % self.world == self.rank else None


@dataclass
class Tally:
    """How far each class is. Indexed by class.

    `candidates` and `kept` count from a class's first candidate up to the one that fills it, or that nothing is known of yet:
    of every class the first images that pass are kept, whoever makes them, in whatever order.
    """

    wanted: list[int]
    limit: int
    candidates: list[int] = field(init=False)
    kept: list[int] = field(init=False)
    _further: list[dict[int, bool]] = field(init=False)  # by index whether it is kept, of candidates known beyond `candidates`
    _under_way: set[Key] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.candidates = [0] * len(self.wanted)
        self.kept = [0] * len(self.wanted)
        self._further = [{} for _ in self.wanted]

    def open(self, c: int) -> bool:
        """Whether class c still needs images and may have more candidates."""
        return self.kept[c] < self.wanted[c] and self.candidates[c] < self.wanted[c] * self.limit

    def next(self, size: int) -> list[Key]:
        """The next candidates to make: for each open class as many as should suffice at its acceptance so far.

        If that is fewer than `size`, each class gets proportionally more, as a whole batch is computed anyway. There are none
        where those under way should suffice.
        """
        needed: dict[int, int] = {}
        left = size
        for c in filter(self.open, range(len(self.wanted))):
            needed[c] = self._needed(c, left)
            left -= needed[c]
        keys: list[Key] = []
        for c, number in needed.items():
            count = min(number * size // (size - left), size - len(keys)) if number else 0
            keys += [(c, i) for i in islice(self._unknown(c), count)]
        self._under_way.update(keys)
        return keys

    def add(self, judged: Iterable[tuple[Key, bool]]) -> None:
        """Take in candidates that were judged, and whether they are kept."""
        for (c, i), kept in judged:
            self._under_way.discard((c, i))
            self._further[c][i] = kept
        for c, further in enumerate(self._further):
            while self.open(c) and self.candidates[c] in further:
                self.kept[c] += further.pop(self.candidates[c])
                self.candidates[c] += 1

    def _needed(self, c: int, most: int) -> int:
        """How many new candidates of class c, at most `most`, should fill it with those that are under way."""
        acceptance = (self.kept[c] + 1) / (self.candidates[c] + 1)
        expected, number = float(self.kept[c]), 0
        for i in range(self.candidates[c], self.wanted[c] * self.limit):
            if expected >= self.wanted[c] or number == most:
                break
            expected += self._further[c].get(i, acceptance)
            number += self._is_new(c, i)
        return number

    def _unknown(self, c: int) -> Iterator[int]:
        return (i for i in range(self.candidates[c], self.wanted[c] * self.limit) if self._is_new(c, i))

    def _is_new(self, c: int, i: int) -> bool:
        return i not in self._further[c] and (c, i) not in self._under_way


@dataclass(frozen=True)
class Workshop:
    """Makes candidates and judges them."""

    generated: GeneratedImages
    selection: Selection
    class_names: tuple[str, ...]
    starts: Starts | None = None
    withdrawal: Withdrawal = Withdrawal()  # noqa: RUF009

    def make(self, run: Path, keys: Sequence[Key]) -> list[Row]:
        """Make candidates and put them on the disk as a part of the synthesis in `run`; their rows, in this order."""
        began = time.monotonic()
        images = self.generated(keys)
        rows = self._judged(keys, images)
        with ThreadPoolExecutor(ENCODERS, thread_name_prefix="image") as pool:
            write_part(run, rows, list(images), seconds=time.monotonic() - began, pool=pool)
        return rows

    def _judged(self, keys: Sequence[Key], images: Images) -> list[Row]:
        seen = Candidates(images, np.array([c for c, _ in keys], np.int64), self.selection.real)
        judged = bool(seen.real.judges)
        sampling, rows = self.generated.sampling, list[Row]()
        for i, ((c, index), verdict) in enumerate(zip(keys, self.selection(seen), strict=True)):
            name, nearest = self.class_names[c], int(seen.nearest[0][i])
            row = Row(
                file="",
                class_=name,
                index=index,
                seed=self.generated.seed,
                guidance=sampling.guidance,
                guidance_interval=",".join(f"{t:g}" for t in sampling.interval),
                sampler=sampling.sampler,
                steps=sampling.steps,
                checkpoint=self.generated.generator.digest[:16],
                start="" if self.starts is None else str(self.starts.of(c, index)),
                feature_distance=f"{seen.feature_distance[i]:.4f}" if judged else "",
                confidence=f"{seen.confidence[i]:.4f}" if judged else "",
                nearest_real=nearest,
                nearest_distance=f"{seen.nearest[1][i]:.4f}",
                verdict=WITHDRAWN if self.withdrawal.takes(name, index, nearest) else verdict,
                sha256=pixel_digest(images[i]),
            )
            rows.append(row)
        return rows


def verdicts(rows: Iterable[Row], class_names: Sequence[str], share: Share) -> Iterator[tuple[Key, bool]]:
    """Of rows in this share, the candidates as they are counted there, and whether they are kept."""
    place = {name: c for c, name in enumerate(class_names)}
    for row in rows:
        if (key := share.own((place[row.class_], row.index))) is not None:
            yield key, row.verdict == KEPT
