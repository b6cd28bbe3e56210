"""Precision and recall of distributions (PRD; Sajjadi et al., NeurIPS 2018, eqs. 2-4 and section 3.3): F8 and F1/8.

The union of both samples is clustered by k-means; a sample becomes its histogram over the clusters, g generated and r
reference. Over slopes l = tan(angle) of 1001 angles in (0, pi/2):

    precision(l) = sum of min(l r, g)       recall(l) = precision(l) / l
    F_b = max over l of (1 + b^2) precision recall / (b^2 precision + recall)

F8 weighs recall, F1/8 precision. The curves are means over 10 clusterings, as in the authors' code.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans

from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.measured import Features, Notebook, require_images

Doubles = npt.NDArray[np.float64]
ANGLES = 1001
RUNS = 10
BETA = 8.0


def f_beta(given: Evaluated, notes: Notebook) -> None:
    """Enter f8 and f1_8."""
    ours, theirs = given.generated.features, given.reference.features
    measure = partial(f_scores, ours, theirs, clusters=given.clusters * given.train.num_classes, seed=given.seed)
    notes.note(["f8", "f1_8"], measure, unless=given.uninformative)


def f_scores(generated: Features, reference: Features, *, clusters: int, runs: int = RUNS, seed: int = 0) -> tuple[float, float]:
    """F8 and F1/8 of features (N, D) and (M, D), which are finite.

    Clusters follow the larger sample, so both give the same number of images: of the larger one, another random choice
    in every run.

    Args:
        clusters: of the union; in the long-tailed literature 20 times the number of classes.

    Raises:
        Unmeasurable: fewer images than clusters on either side.
    """
    require_images(len(generated), clusters, what="generated images")
    require_images(len(reference), clusters, what="reference images")
    rng = np.random.RandomState(seed)
    curves = [prd_curve(*_histograms(generated, reference, clusters, rng)) for _ in range(runs)]
    precision, recall = np.mean(curves, axis=0)
    return best_f(precision, recall, beta=BETA), best_f(precision, recall, beta=1 / BETA)


def prd_curve(generated: Doubles, reference: Doubles, *, angles: int = ANGLES) -> tuple[Doubles, Doubles]:
    """Precision and recall (angles,) of two histograms (clusters,), each summing to 1."""
    edge = 1e-10  # the authors': a slope is neither 0 nor infinite
    slopes = np.tan(np.linspace(edge, np.pi / 2 - edge, angles))
    precision = np.minimum(slopes[:, None] * reference, generated).sum(1)
    return precision.clip(0, 1), (precision / slopes).clip(0, 1)


def best_f(precision: Doubles, recall: Doubles, *, beta: float) -> float:
    """The largest F_beta on the curve."""
    weighted = beta**2 * precision + recall
    scores = np.divide((1 + beta**2) * precision * recall, weighted, out=np.zeros_like(weighted), where=weighted > 0)
    return float(scores.max())


def _histograms(generated: Features, reference: Features, clusters: int, rng: np.random.RandomState) -> tuple[Doubles, Doubles]:
    """Both samples' shares of images a cluster, (clusters,) each."""
    size = min(len(generated), len(reference))
    parts = [x if len(x) == size else x[rng.choice(len(x), size, replace=False)] for x in (generated, reference)]
    model = MiniBatchKMeans(n_clusters=clusters, n_init=1, random_state=rng)
    found = model.fit_predict(np.concatenate(parts))
    return tuple(np.bincount(part, minlength=clusters) / size for part in (found[:size], found[size:]))  # type: ignore[return-value]
