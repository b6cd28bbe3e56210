"""Inception score (IS; Salimans et al., NeurIPS 2016, section 4): sure of each image, and of many classes.

    IS = exp(mean over images of KL(p(y|x) || p(y)))

with p(y) the mean of p(y|x), on each of 10 parts of the shuffled images; the score is the mean over parts. It lies
between 1 and the number of classes, and needs no reference: it says nothing of the images' likeness to real ones.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.measured import Features, Notebook, Unmeasurable, require_images

SPLITS = 10


def score(given: Evaluated, notes: Notebook) -> None:
    """Enter inception_score and inception_score_std."""

    def measure() -> tuple[float, float]:
        if given.generated.scores is None:
            raise Unmeasurable("the extractor gives no class probabilities")
        return inception_score(given.generated.scores, seed=given.seed)

    notes.note(["inception_score", "inception_score_std"], measure)


def inception_score(probabilities: Features, *, splits: int = SPLITS, seed: int = 0) -> tuple[float, float]:
    """The score's mean and standard deviation over parts, of class probabilities (N, M).

    Images are shuffled as torch-fidelity does with the same seed, so that images in class order fall into all parts.

    Raises:
        Unmeasurable: fewer than 2 images a part (one image alone has score 1, whatever it shows), or probabilities that
            are not finite.
    """
    require_images(len(probabilities), 2 * splits, what="generated images")
    if not np.isfinite(probabilities).all():
        raise Unmeasurable("the class probabilities of some generated images are not finite numbers")
    order = np.random.RandomState(seed).permutation(len(probabilities))
    edges = [i * len(order) // splits for i in range(splits + 1)]
    scores = [_score(probabilities[order[a:b]].astype(np.float64)) for a, b in pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(p: npt.NDArray[np.float64]) -> float:
    """Of one part (N, M)."""
    ratio = np.divide(p, p.mean(0), out=np.ones_like(p), where=p > 0)
    return float(np.exp((p * np.log(ratio)).sum(1).mean()))
