"""Every measure of a generator's images in an extractor's eyes, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltaug.metrics.frechet import frechet_distance, gaussian
from ltaug.metrics.measures import Measures, Notebook
from ltaug.metrics.unmeasurable import require_informative

__all__ = ["Looked", "Measures", "fidelity"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Looked:
    """Images as an extractor sees them.

    Attributes:
        features: float32, (N, D).
        labels: int64, (N,), the class each image is of, or was generated as.
        probabilities: float32, (N, K), the extractor's reading of the classes, if it is a classifier of these classes.
        scores: float32, (N, M), class probabilities for the inception score (of Inception's 1008 classes, or the
            classifier's), if the extractor has any.
    """

    features: Floats
    labels: npt.NDArray[np.int64]
    probabilities: Floats | None = None
    scores: Floats | None = None


def fidelity(
    generated: Looked,
    reference: Looked,
    *,
    num_classes: int,
    groups: Mapping[str, Sequence[int]],
    neighbours: int = 5,
    clusters: int = 20,
    seed: int = 0,
) -> Measures:
    """All measures of generated images against reference images."""
    notes = Notebook()

    def fid() -> tuple[float]:
        require_informative(generated.features, what="generated images")
        require_informative(reference.features, what="reference images")
        return (frechet_distance(gaussian(generated.features), gaussian(reference.features)),)

    notes.note(["fid"], fid)
    return notes.measures()
