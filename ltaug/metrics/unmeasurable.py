"""What a measure says when it has no value: a reason, and the two checks that most measures start with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]

# Squares fit into float32, and squares of KID's cubes of squares into float64.
LARGEST = 1e15


class Unmeasurable(Exception):
    """A measure has no value for these images: too few of them, or features that say nothing.

    Not a user's mistake (an LtaugError): the measures' own protocol. A Notebook turns it into a null with its
    reason, and the other measures go on.
    """

    @property
    def reason(self) -> str:
        """Why, in one sentence without a full stop."""
        return str(self)


def require_images(count: int, least: int, *, what: str) -> None:
    """Raise Unmeasurable where there are fewer than `least` images of `what` ("generated images")."""
    if count < least:
        raise Unmeasurable(f"too few {what}: {count}, where this measure takes at least {least}")


def require_informative(features: Features, *, what: str) -> None:
    """Raise Unmeasurable where features (N, D) hold NaN or numbers beyond 1e15, or are the same for all of several images."""
    bad = len(features) - int(((features >= -LARGEST) & (features <= LARGEST)).all(axis=1).sum())
    if bad:
        raise Unmeasurable(f"the features of {bad} of {len(features)} {what} are not numbers up to {LARGEST:.0e}")
    if len(features) > 1 and (features == features[0]).all():
        raise Unmeasurable(f"all {len(features)} {what} have the same features")
