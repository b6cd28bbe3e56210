"""Guidance strengths as figures take them."""

from __future__ import annotations

from collections.abc import Sequence

from ltaug.errors import OptionError
from ltaug.options import EVERYWHERE


def require_strengths(strengths: Sequence[float], *, least: int) -> tuple[float, ...]:
    """The strengths in ascending order.

    Raises:
        OptionError: fewer than `least`, or one twice.
    """
    shown = ",".join(f"{w:g}" for w in strengths) or "none"
    if len(strengths) < least:
        raise OptionError(f"--strengths {shown}: give at least {least}, such as 0,1,2")
    if len(set(strengths)) < len(strengths):
        raise OptionError(f"--strengths {shown} names a strength twice; name each once")
    return tuple(sorted(strengths))


def told(guidance: float, interval: Sequence[float]) -> str:
    """A strength in a heading, and where it is in force if not everywhere."""
    where = "" if tuple(interval) == EVERYWHERE or guidance == 0 else f" at t/T {interval[0]:g} to {interval[1]:g}"
    return f"guidance {guidance:g}{where}"
