"""Who pays: whether synthetic images cost recall of frequent or of rare classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ltaug.report.arms import Scores
from ltaug.report.decision import CLAIM_SEEDS, LEVEL, MARGIN, Comparison, Evidence
from ltaug.report.statistics import Paired, holm
from ltaug.report.wording import plain, several

GROUPS = {"many": "many-shot", "few": "few-shot"}


@dataclass(frozen=True)
class Loss:
    """What becomes of the recall of a group of classes: lost, kept (no loss of the margin or more) or undecided."""

    group: str
    change: Comparison
    outcome: str


@dataclass(frozen=True)
class Harm:
    """An arm's losses against the baseline, by group, and the classes that are claimed to have lost recall."""

    losses: tuple[Loss, ...]
    classes: tuple[str, ...]

    @property
    def lost(self) -> tuple[Loss, ...]:
        return tuple(loss for loss in self.losses if loss.outcome == "lost")

    @property
    def clause(self) -> str:
        """For the headline: what was lost."""
        if not self.lost:
            return ""
        falls = [f"{GROUPS[loss.group]} recall falls by {plain(-(loss.change.mean or 0.0))}" for loss in self.lost]
        return f"; {several(falls)}"


def harm_of(scores: Scores, arm: str, changes: Mapping[str, Paired]) -> Harm:
    """What `arm` costs against the baseline.

    A group has lost where its interval, at LEVEL/2 and Bonferroni for the two groups, is below zero; it has kept its recall
    (non-inferiority) where that interval is above -MARGIN. Single classes are looked at only after a group has lost, by Holm's
    procedure at LEVEL.

    Args:
        changes: of every class's recall against the baseline, by its name.
    """
    losses = []
    for group in GROUPS:
        evidence = Evidence(scores, f"recall/{group}")
        change = evidence.compare(arm, scores.baseline, LEVEL / 2 / len(GROUPS))
        if change.mean is None:
            continue
        kept = change.low is not None and change.low > -MARGIN and change.n >= CLAIM_SEEDS
        outcome = "lost" if change.outcome == "worse" else "kept" if kept else "undecided"
        losses.append(Loss(group, change, outcome))
    p = {name: change.p for name, change in changes.items() if change.p is not None}
    sure = holm(p) if any(loss.outcome == "lost" for loss in losses) else {}
    falling = [name for name, value in sure.items() if value < LEVEL and (changes[name].mean or 0.0) < 0]
    return Harm(tuple(losses), tuple(falling))
