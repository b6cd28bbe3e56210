"""Placeholder until the cost slice lands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    minutes: float
    unit: str
    parts: Mapping[str, float] = field(default_factory=dict)
