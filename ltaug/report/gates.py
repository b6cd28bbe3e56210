"""Placeholder until the gates slice lands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    kind: str
    outcome: str
    text: str
    arms: tuple[str, ...] = ()
