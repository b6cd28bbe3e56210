"""Every measure of generated images in an extractor's eyes, against reference images: overall, by class size, per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ltaug.metrics.classes import class_distances, mean_distance, moving_average, note_shares
from ltaug.metrics.frechet import frechet_distance, gaussian
from ltaug.metrics.inception_score import inception_score
from ltaug.metrics.kernel import SUBSET_SIZE, kernel_distance, subset_size
from ltaug.metrics.manifold import manifold
from ltaug.metrics.measures import Measures, Notebook
from ltaug.metrics.prd import f_scores
from ltaug.metrics.unmeasurable import Unmeasurable, require_informative

__all__ = ["Looked", "Measures", "fidelity"]

Floats = npt.NDArray[np.float32]
FEW_IMAGES = 10_000
UNBALANCED = 2.0
MANIFOLD = ("precision", "recall", "density", "coverage")


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

    def __post_init__(self) -> None:
        assert self.features.ndim == 2, "features are (N, D)"
        for given in (self.labels, self.probabilities, self.scores):
            assert given is None or len(given) == len(self.features), "one of each an image"

    def of(self, classes: Sequence[int]) -> Looked:
        """The images of these classes; features and labels only."""
        mask = np.isin(self.labels, np.asarray(classes))
        return Looked(self.features[mask], self.labels[mask])


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
    """All measures of `generated` against `reference`.

    What cannot be measured (too few images, features that are not finite or all the same, an extractor without class
    probabilities) is None with its reason, and the others go on. Measures of a group G are of the images of its classes
    on both sides, under names such as "fid/few".

    Args:
        num_classes: K.
        groups: classes by size of their training set, such as {"many": [0, 1], "few": [2]}.
        neighbours: k of precision, recall, density and coverage.
        clusters: of F8 and F1/8, times K.
        seed: of KID's subsets, the inception score's parts and the clusterings.

    Returns:
        summary: fid, kid, kid_std, inception_score, inception_score_std, precision, recall, density, coverage, f8, f1_8,
        class_fid (mean over classes), consistency; fid, precision, recall, density, coverage, class_fid, consistency of
        every group. Per class: class_fid, class_fid_smoothed, consistency.
    """
    notes = Notebook()
    blind = _uninformative(generated, reference)
    for suffix, classes in {"": None, **{f"/{group}": classes for group, classes in groups.items()}}.items():
        ours, theirs = (generated, reference) if classes is None else (generated.of(classes), reference.of(classes))
        notes.note([f"fid{suffix}"], partial(_frechet, ours, theirs), unless=blind)
        balls = partial(manifold, ours.features, theirs.features, neighbours=neighbours)
        notes.note([f"{name}{suffix}" for name in MANIFOLD], balls, unless=blind)
    features = (generated.features, reference.features)
    notes.note(["kid", "kid_std"], lambda: kernel_distance(*features, seed=seed), unless=blind)
    notes.note(["f8", "f1_8"], lambda: f_scores(*features, clusters=clusters * num_classes, seed=seed), unless=blind)
    notes.note(["inception_score", "inception_score_std"], partial(_inception_score, generated, seed))
    _note_class_distances(notes, generated, reference, num_classes=num_classes, groups=groups, unless=blind)
    _note_consistency(notes, generated, num_classes=num_classes, groups=groups)
    notes.warnings += _warnings(generated, reference, num_classes)
    return notes.measures()


def _uninformative(generated: Looked, reference: Looked) -> str | None:
    """Why nothing can be read from these features, if so; of the whole samples, not of groups or classes.

    A class of equal images has a Frechet distance, and should: it is what a collapsed generator makes.
    """
    try:
        require_informative(generated.features, what="generated images")
        require_informative(reference.features, what="reference images")
    except Unmeasurable as why:
        return why.reason
    return None


def _frechet(generated: Looked, reference: Looked) -> tuple[float]:
    ours = gaussian(generated.features, what="generated images")
    return (frechet_distance(ours, gaussian(reference.features, what="reference images")),)


def _inception_score(generated: Looked, seed: int) -> tuple[float, float]:
    if generated.scores is None:
        raise Unmeasurable("the extractor gives no class probabilities")
    return inception_score(generated.scores, seed=seed)


def _note_class_distances(
    notes: Notebook,
    generated: Looked,
    reference: Looked,
    *,
    num_classes: int,
    groups: Mapping[str, Sequence[int]],
    unless: str | None,
) -> None:
    """Frechet distance per class, smoothed, and the mean over classes and over each group's."""
    distances: list[float | None] = [None] * num_classes
    reasons = [unless or ""] * num_classes
    if unless is None:
        samples = (generated.features, generated.labels, reference.features, reference.labels)
        distances, reasons = class_distances(*samples, num_classes=num_classes)
    notes.note_classes("class_fid", distances, reasons)
    notes.note_classes("class_fid_smoothed", moving_average(distances), ["no class nearby has a class_fid"] * num_classes)
    parts = {"class_fid": range(num_classes)} | {f"class_fid/{group}": classes for group, classes in groups.items()}
    for key, classes in parts.items():
        notes.note([key], partial(mean_distance, [distances[c] for c in classes]), unless=unless)
    missing = distances.count(None)
    if missing and unless is None:
        notes.warnings.append(f"class_fid is a mean without {missing} of {num_classes} classes, which have too few images")


def _note_consistency(notes: Notebook, generated: Looked, *, num_classes: int, groups: Mapping[str, Sequence[int]]) -> None:
    """The share of generated images that the extractor reads as what they were generated as."""
    hits, otherwise = None, "the extractor does not classify these classes"
    if generated.probabilities is not None:
        if np.isfinite(generated.probabilities).all():
            hits = generated.probabilities.argmax(1) == generated.labels
        else:
            otherwise = "the class probabilities of some generated images are not finite numbers"
    note_shares(notes, "consistency", hits, generated.labels, groups=groups, num_classes=num_classes, otherwise=otherwise)


def _warnings(generated: Looked, reference: Looked, num_classes: int) -> list[str]:
    """What to bear in mind: small samples, a reference that is not balanced, the same images on both sides."""
    found = []
    width = generated.features.shape[1]
    for what, looked in (("generated", generated), ("reference", reference)):
        count = len(looked.labels)
        if count < FEW_IMAGES:
            found.append(
                f"{count} {what} images, fewer than {FEW_IMAGES}: fid is biased high, recall and coverage depend on the "
                "count; compare only figures of equal counts"
            )
        if count <= width:
            found.append(f"{count} {what} images in {width} dimensions: their covariance is singular and fid says little")
    smaller = min(len(generated.labels), len(reference.labels))
    if 4 <= smaller < SUBSET_SIZE:
        found.append(f"kid is of subsets of {subset_size(smaller)} images instead of {SUBSET_SIZE}")
    counts = np.bincount(reference.labels, minlength=num_classes)
    if counts.max() > UNBALANCED * counts.min():
        found.append(f"the reference has {counts.min()} to {counts.max()} images a class: its figures favour what it has most of")
    if np.array_equal(generated.features, reference.features):
        found.append("generated and reference images have the very same features; are they the same images?")
    return found
