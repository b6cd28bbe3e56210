"""Measures while they are taken: numbers with a reason for each that is missing, in a form that goes into JSON as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]


class Unmeasurable(Exception):
    """A measure has no value for these images: too few of them, or features that say nothing.

    Not a user's mistake (an LtaugError): the measures' own protocol. A Notebook turns it into a null with its text as the
    reason (one sentence without a full stop), and the other measures go on.
    """


def require_images(count: int, least: int, *, what: str) -> None:
    """Raise Unmeasurable where there are fewer than `least` images of `what` ("generated images")."""
    if count < least:
        raise Unmeasurable(f"too few {what}: {count}, where this measure takes at least {least}")


@dataclass
class Notebook:
    """What was measured of a generator's images. No value is ever NaN or infinite."""

    summary: dict[str, float | None] = field(default_factory=dict)
    per_class: dict[str, list[float | None]] = field(default_factory=dict)  # one value a class, in index order
    reasons: dict[str, str] = field(default_factory=dict)  # for every None: by its key in summary, or "NAME[C]" for class C
    warnings: list[str] = field(default_factory=list)  # what to bear in mind when reading the values, a sentence each

    def note(self, keys: Sequence[str], measure: Callable[[], Sequence[float]], *, unless: str | None = None) -> None:
        """Enter what `measure` returns under `keys`, one value each; None for each of them where `unless` says why."""
        values: Sequence[float | None] = [None] * len(keys)
        reason = unless
        if unless is None:
            try:
                values = measure()
            except Unmeasurable as why:
                reason = str(why)
        assert not self.summary.keys() & set(keys), f"{keys} are entered once"
        for key, value in zip(keys, values, strict=True):
            self.summary[key] = self._entered(key, value, reason or "")

    def note_classes(self, name: str, values: Sequence[float | None], reasons: Sequence[str]) -> None:
        """Enter one value a class; `reasons` (one a class) are read where the value is None."""
        pairs = zip(values, reasons, strict=True)
        self.per_class[name] = [self._entered(f"{name}[{c}]", value, reason) for c, (value, reason) in enumerate(pairs)]

    def _entered(self, key: str, value: float | None, reason: str) -> float | None:
        if value is None:
            assert reason, f"a reason why {key} is None"
            self.reasons[key] = reason
            return None
        assert math.isfinite(value), f"{key} is {value}: a measure is finite or Unmeasurable"
        return float(value)
