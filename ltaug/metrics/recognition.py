"""How well a classifier recognises each class: precision, recall and F1 per class, by class size and overall; calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

SCORES = ("precision", "recall", "f1")


def recognition(labels: Ints, probabilities: Floats, *, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The summary of one classifier on one test set, as a flat dict.

    Means are over the classes that have test images. A class that was never predicted has precision 0 (and counts as
    such). A group of which no class has test images is left out, so no figure is ever NaN.

    Args:
        labels: (N,), N >= 1.
        probabilities: (N, K), rows summing to 1; the prediction is the largest.
        groups: classes by size of their training set, such as {"many": [0, 1], "few": [2]}.

    Returns:
        macro_precision, macro_recall, macro_f1, accuracy, ece, never_predicted (classes with test images that were
        never predicted, a count), and for each group G precision/G, recall/G and f1/G.
    """
    assert 0 < len(labels) == len(probabilities), "a row of probabilities for every label"
    predicted = probabilities.argmax(axis=1)
    scores = per_class(labels, predicted, probabilities.shape[1])
    support = np.array(scores["support"])
    tested = np.flatnonzero(support)
    found = {f"macro_{m}": float(np.mean(np.array(scores[m])[tested])) for m in SCORES}
    found["accuracy"] = float(np.mean(predicted == labels))
    found["ece"] = calibration_error(labels, probabilities)
    found["never_predicted"] = float(len(np.setdiff1d(tested, predicted)))
    for group, members in groups.items():
        classes = [c for c in members if support[c] > 0]
        if classes:
            found |= {f"{m}/{group}": float(np.mean(np.array(scores[m])[classes])) for m in SCORES}
    return found


def per_class(labels: Ints, predicted: Ints, num_classes: int) -> dict[str, list[float]]:
    """Precision, recall, F1 and number of test images ("support") of every class, each a list of length `num_classes`.

    What divides by zero (precision of a class never predicted, recall of one without test images) is 0.
    """
    from sklearn.metrics import precision_recall_fscore_support  # a second and a half to import

    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(num_classes), average=None, zero_division=0
    )
    return {"precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(), "support": support.tolist()}


def confusion(labels: Ints, predicted: Ints, num_classes: int) -> list[list[int]]:
    """Counts of images by true class (row) and predicted class (column)."""
    from sklearn.metrics import confusion_matrix

    counts: list[list[int]] = confusion_matrix(labels, predicted, labels=np.arange(num_classes)).tolist()
    return counts


def calibration_error(labels: Ints, probabilities: Floats, *, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3) of the largest probability over equal-width bins.

    Bins are closed on the right, the first one on both sides.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.abs(np.bincount(place, weights=right - confidence, minlength=bins))
    return float(gaps.sum() / len(labels))
