"""What synthetic images are checked for before anything is said of them."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.report.collect import Experiment


@dataclass(frozen=True)
class Gate:
    """One check; `kind` is leak, copies, duplicates or origin, `outcome` ok, warn or stop."""

    kind: str
    outcome: str
    text: str
    arms: tuple[str, ...] = ()


def gates(experiment: Experiment) -> tuple[Gate, ...]:
    """Every check of an experiment."""
    return ()
