"""The candidates of a round: which come next, and one process's part of them, generated and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ltaug.data.imageset import Images, pixel_digest
from ltaug.errors import CorruptError, MismatchError
from ltaug.generator.generate import GeneratedImages, Key
from ltaug.manifest import KEPT, Row
from ltaug.synthesis.rounds import ROWS, Part, Rounds
from ltaug.synthesis.select import Candidates, Selection
from ltaug.synthesis.starts import Starts
from ltaug.synthesis.stores import Store


@dataclass
class Tally:
    """How far each class is: images wanted, candidates judged, images kept. Indexed by class."""

    wanted: list[int]
    limit: int
    candidates: list[int] = field(init=False)
    kept: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.candidates = [0] * len(self.wanted)
        self.kept = [0] * len(self.wanted)

    def open(self, c: int) -> bool:
        """Whether class c still needs images and may have more candidates."""
        return self.kept[c] < self.wanted[c] and self.candidates[c] < self.wanted[c] * self.limit

    def next_round(self, size: int) -> list[Key]:
        """The next candidates: for each open class as many as should suffice at its acceptance so far.

        If that is fewer than `size`, each class gets proportionally more, as a whole batch is computed anyway.
        """
        likely: dict[int, int] = {}
        for c in filter(self.open, range(len(self.wanted))):
            acceptance = (self.kept[c] + 1) / (self.candidates[c] + 1)
            likely[c] = int(np.ceil((self.wanted[c] - self.kept[c]) / acceptance))
        scale = max(1.0, size / max(1, sum(likely.values())))
        keys: list[Key] = []
        for c, number in likely.items():
            count = min(int(number * scale), self.wanted[c] * self.limit - self.candidates[c], size - len(keys))
            keys += [(c, self.candidates[c] + i) for i in range(count)]
        return keys

    def count(self, keys: Sequence[Key], verdicts: Sequence[str]) -> list[bool]:
        """Add a round. Returns for each candidate whether it counts; once a class is full, further ones do not."""
        counts = []
        for (c, _), verdict in zip(keys, verdicts, strict=True):
            counts.append(self.open(c))
            if counts[-1]:
                self.candidates[c] += 1
                self.kept[c] += verdict == KEPT
        return counts


@dataclass(frozen=True)
class Workshop:
    """Makes candidates and judges them."""

    generated: GeneratedImages
    selection: Selection
    store: Store
    rounds: Rounds
    class_names: tuple[str, ...]
    starts: Starts | None = None

    def make(self, part: Part, keys: Sequence[Key]) -> Images:
        """The images of a part, uint8 (N, C, H, W). Publishes their rows; where that was done before, nothing is judged again.

        Raises:
            MismatchError: a kept image does not have the digest in its published row.
        """
        images = self.generated(keys)
        if self.rounds.without(ROWS, [part]):
            self.rounds.publish(part, self._judged(part, keys, images))
            return images
        for row, image in zip(self.rounds.rows(part), images, strict=True):
            if row.verdict == KEPT and row.sha256 != pixel_digest(image):
                raise MismatchError(
                    f"image {row.index} of class {row.class_} is no longer the one that {part} made before: this machine, its "
                    "libraries or --precision round differently; continue as the run was begun, or name another --out"
                )
        return images

    def _judged(self, part: Part, keys: Sequence[Key], images: Images) -> list[Row]:
        if not keys:
            return []
        seen = Candidates(images, np.array([c for c, _ in keys], np.int64), self.selection.real)
        judged = bool(seen.real.judges)
        sampling, rows = self.generated.sampling, list[Row]()
        for i, ((c, index), verdict) in enumerate(zip(keys, self.selection(seen), strict=True)):
            name = self.class_names[c]
            row = Row(
                file=self.store.file(part, name, index) if verdict == KEPT else "",
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
                nearest_real=int(seen.nearest[0][i]),
                nearest_distance=f"{seen.nearest[1][i]:.4f}",
                verdict=verdict,
                sha256=pixel_digest(images[i]),
            )
            rows.append(row)
        return rows


def gathered(parts: Sequence[Part], rounds: Rounds, keys: Sequence[Key], class_names: Sequence[str]) -> list[Row]:
    """The rows of a whole round, in the order of its keys.

    Raises:
        CorruptError: the parts have rows of other candidates.
    """
    shares, world = [rounds.rows(part) for part in parts], len(parts)
    if [len(share) for share in shares] == [len(keys[rank::world]) for rank in range(world)]:
        rows = [shares[i % world][i // world] for i in range(len(keys))]
        if all((class_names[c], index) == (row.class_, row.index) for (c, index), row in zip(keys, rows, strict=True)):
            return rows
    raise CorruptError(f"rounds/{parts[0].number:06d} does not have the rows of its candidates; delete the run and make it again")
