"""How far each class is from its budget; this alone decides which candidates come next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ltaug.generator.generate import Key
from ltaug.synthesis.manifest import KEPT


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
