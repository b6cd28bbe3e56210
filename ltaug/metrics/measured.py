"""What was measured: numbers with a reason for each that is missing, in a form that goes into JSON as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ltaug.metrics.unmeasurable import Unmeasurable


@dataclass(frozen=True)
class Measured:
    """What was measured of a generator's images. No value is ever NaN or infinite.

    Attributes:
        summary: key -> value, or None.
        reasons: why a value is None, for every None: under its key in `summary`, or under "NAME[C]" for class C in
            `per_class`.
        warnings: what to bear in mind when reading the values, a sentence each.
        per_class: name -> one value (or None) a class, in index order.
    """

    summary: dict[str, float | None]
    reasons: dict[str, str]
    warnings: tuple[str, ...]
    per_class: dict[str, list[float | None]]


@dataclass
class Notebook:
    """Measures while they are taken: `note` and `note_classes` turn Unmeasurable into None and a reason."""

    summary: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    per_class: dict[str, list[float | None]] = field(default_factory=dict)

    def note(self, keys: Sequence[str], measure: Callable[[], Sequence[float]], *, unless: str | None = None) -> None:
        """Enter what `measure` returns under `keys`, one value each; None for each of them where `unless` says why."""
        values: Sequence[float | None] = [None] * len(keys)
        reason = unless
        if unless is None:
            try:
                values = measure()
            except Unmeasurable as why:
                reason = why.reason
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

    def measured(self) -> Measured:
        return Measured(self.summary, self.reasons, tuple(self.warnings), self.per_class)
