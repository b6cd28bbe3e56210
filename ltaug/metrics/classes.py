"""Measures class by class: Frechet distance per class, its moving average, and shares of images per class and group.

The Frechet distance of a class is that of its generated images to its reference images. Over classes in index order (by
falling size, in the long-tailed benchmarks) it is read as a 5-class moving average (Qin et al., CVPR 2023).
Class consistency is the share of generated images that a classifier reads as the class they were generated as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.frechet import frechet_distance, gaussian
from ltaug.metrics.measured import Features, Notebook, Unmeasurable

Labels = npt.NDArray[np.int64]
WINDOW = 5
_NONE_GENERATED = "no image was generated"


def class_fid(given: Evaluated, notes: Notebook) -> None:
    """Enter class_fid of every class, its moving average, and the mean over all classes and over each group's."""
    num_classes, unless = given.train.num_classes, given.uninformative
    distances: list[float | None] = [None] * num_classes
    reasons = [unless or ""] * num_classes
    if unless is None:
        ours, theirs = given.generated, given.reference
        samples = (ours.features, ours.labels, theirs.features, theirs.labels)
        distances, reasons = class_distances(*samples, num_classes=num_classes)
    notes.note_classes("class_fid", distances, reasons)
    notes.note_classes("class_fid_smoothed", moving_average(distances), ["no class nearby has a class_fid"] * num_classes)
    for key, classes in _parts("class_fid", num_classes, given.groups).items():
        notes.note([key], partial(mean_distance, [distances[c] for c in classes]), unless=unless)
    missing = distances.count(None)
    if missing and unless is None:
        notes.warnings.append(f"class_fid is a mean without {missing} of {num_classes} classes, which have too few images")


def consistency(given: Evaluated, notes: Notebook) -> None:
    """Enter consistency, of all images, of each group's and of each class's."""
    hits, otherwise = None, "the extractor does not classify these classes"
    probabilities, labels = given.generated.probabilities, given.generated.labels
    if probabilities is not None:
        if np.isfinite(probabilities).all():
            hits = probabilities.argmax(1) == labels
        else:
            otherwise = "the class probabilities of some generated images are not finite numbers"
    note_shares(notes, "consistency", hits, given, groups=given.groups, otherwise=otherwise)


def class_distances(
    generated: Features, generated_labels: Labels, reference: Features, reference_labels: Labels, *, num_classes: int
) -> tuple[list[float | None], list[str]]:
    """Frechet distance of every class, (K,).

    Returns:
        the distances, None for a class with fewer than 2 images on either side, and the reason for every None ("" elsewhere).
    """
    distances: list[float | None] = []
    reasons = []
    for c in range(num_classes):
        try:
            ours = gaussian(generated[generated_labels == c], what=f"generated images of class {c}")
            theirs = gaussian(reference[reference_labels == c], what=f"reference images of class {c}")
        except Unmeasurable as why:
            distances.append(None)
            reasons.append(str(why))
        else:
            distances.append(frechet_distance(ours, theirs))
            reasons.append("")
    return distances, reasons


def moving_average(values: Sequence[float | None], *, window: int = WINDOW) -> list[float | None]:
    """Mean of each value with its neighbours in a centred window of odd length.

    At the ends the window is cut off; None is left out of the mean, and the mean of None alone is None.
    """
    assert window % 2 == 1, "a centred window"
    half = window // 2
    means: list[float | None] = []
    for c in range(len(values)):
        there = [v for v in values[max(0, c - half) : c + half + 1] if v is not None]
        means.append(float(np.mean(there)) if there else None)
    return means


def mean_distance(distances: Sequence[float | None]) -> tuple[float]:
    """Mean over the classes that have a distance.

    Raises:
        Unmeasurable: none has.
    """
    there = [d for d in distances if d is not None]
    if not there:
        raise Unmeasurable("no class has 2 images on either side")
    return (float(np.mean(there)),)


def note_shares(
    notes: Notebook,
    name: str,
    hits: npt.NDArray[np.bool_] | None,
    given: Evaluated,
    *,
    groups: Mapping[str, Sequence[int]],
    otherwise: str,
) -> None:
    """Enter the share of generated images (N,) that are hits: overall, of every group's classes and of every class.

    Args:
        hits: None where there is nothing to tell them by; then `otherwise` is the reason.
    """
    labels, num_classes = given.generated.labels, given.train.num_classes
    known = np.zeros(len(labels), bool) if hits is None else hits
    unless = otherwise if hits is None else None
    for key, classes in _parts(name, num_classes, groups).items():
        notes.note([key], partial(_share, known[np.isin(labels, np.asarray(classes))]), unless=unless)
    counts = np.bincount(labels, minlength=num_classes)
    found = np.bincount(labels, weights=known, minlength=num_classes)
    values = [float(f / n) if n and hits is not None else None for f, n in zip(found, counts, strict=True)]
    notes.note_classes(name, values, [unless or _NONE_GENERATED] * num_classes)


def _parts(name: str, num_classes: int, groups: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """Key -> classes: all under `name`, each group's under "NAME/GROUP"."""
    return {name: range(num_classes), **{f"{name}/{group}": classes for group, classes in groups.items()}}


def _share(hits: npt.NDArray[np.bool_]) -> tuple[float]:
    if not len(hits):
        raise Unmeasurable(_NONE_GENERATED)
    return (float(hits.mean()),)
