"""The learning rate of every step: linear warm-up, then a schedule (methods.SCHEDULES) of the share of training done."""

from __future__ import annotations

import math

from ltaug.methods import SCHEDULES


def step_decay(share: float) -> float:
    """1, then 0.1 from 80 % and 0.01 from 90 % of training."""
    return 1.0 if share < 0.8 else 0.1 if share < 0.9 else 0.01


def cosine_decay(share: float) -> float:
    """Half a cosine from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * share))


def learning_rates(steps: int, *, lr: float, schedule: str, warmup: float) -> list[float]:
    """The learning rate of every step: linear warm-up for the share `warmup` of training, then the schedule.

    Raises:
        OptionError: an unknown schedule.
    """
    decay, rising = SCHEDULES.find(schedule), round(warmup * steps)
    return [lr * (s + 1) / (rising + 1) if s < rising else lr * decay(s / steps) for s in range(steps)]
