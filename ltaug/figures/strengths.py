"""Guidance strengths as figures take them."""

from __future__ import annotations

from collections.abc import Sequence

from ltaug.errors import OptionError


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
