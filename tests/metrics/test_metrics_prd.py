"""PRD: histograms whose curve is known by hand, and samples whose clusters are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltaug.metrics.measured import Unmeasurable
from ltaug.metrics.prd import best_f, f_scores, prd_curve

PLACES = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]], np.float32)


def sample(*counts, seed=0):
    """Images at four places, that many at each, a little apart, in random order."""
    rng = np.random.default_rng(seed)
    points = np.repeat(PLACES, counts, axis=0)
    return rng.permutation(points + rng.normal(size=points.shape)).astype(np.float32)


def test_half_the_mass_shared_is_a_precision_and_recall_of_one_half():
    precision, recall = prd_curve(np.array([0.5, 0.5, 0]), np.array([0, 0.5, 0.5]))
    # min(l/2, 1/2) and its l-th part, at l = tan(0), tan(pi/4) and tan(pi/2).
    assert precision[[0, 500, -1]] == pytest.approx([0, 0.5, 0.5], abs=1e-9)
    assert recall[[0, 500, -1]] == pytest.approx([0.5, 0.5, 0], abs=1e-9)
    assert best_f(precision, recall, beta=8) == pytest.approx(0.5)
    assert best_f(precision, recall, beta=1 / 8) == pytest.approx(0.5)


def test_a_mode_left_out_costs_recall_and_an_invented_one_precision():
    curve = prd_curve(np.array([1.0, 0]), np.array([0.5, 0.5]))  # corner at precision 1, recall 1/2
    invented = prd_curve(np.array([0.5, 0.5]), np.array([1.0, 0]))
    low, high = 65 * 0.5 / 64.5, (1 + 1 / 64) * 0.5 / (1 / 64 + 0.5)
    assert [best_f(*curve, beta=b) for b in (8, 1 / 8)] == pytest.approx([low, high], rel=2e-3)
    assert [best_f(*invented, beta=b) for b in (8, 1 / 8)] == pytest.approx([high, low], rel=2e-3)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=8).filter(any), st.randoms())
def test_of_equal_histograms_both_scores_are_one_and_of_disjoint_ones_zero(counts, random):
    share = np.array(counts) / sum(counts)
    nothing = np.zeros_like(share)
    for beta in (8, 1 / 8):
        assert best_f(*prd_curve(share, share), beta=beta) == pytest.approx(1)
        disjoint = prd_curve(np.concatenate([share, nothing]), np.concatenate([nothing, share]))
        assert best_f(*disjoint, beta=beta) == 0


def test_samples_at_known_places_have_the_scores_of_their_histograms():
    generated, reference = sample(30, 30, 0, 0), sample(0, 20, 20, 20, seed=1)
    curve = prd_curve(np.array([0.5, 0.5, 0, 0]), np.array([0, 1, 1, 1]) / 3)
    wanted = tuple(best_f(*curve, beta=b) for b in (8, 1 / 8))
    assert f_scores(generated, reference, clusters=4, runs=3) == pytest.approx(wanted)
    assert wanted[0] < wanted[1]


def test_the_larger_sample_weighs_no_more_than_the_smaller():
    few, many = sample(10, 10, 10, 10), sample(100, 100, 100, 100, seed=1)
    assert min(f_scores(few, many, clusters=4, runs=3) + f_scores(many, few, clusters=4, runs=3)) > 0.8
    assert f_scores(few, many, clusters=4, runs=2, seed=1) == f_scores(few, many, clusters=4, runs=2, seed=1)


def test_fewer_images_than_clusters_are_too_few():
    with pytest.raises(Unmeasurable, match=r"too few reference images: 8, .* at least 20"):
        f_scores(sample(9, 9, 9, 9), sample(2, 2, 2, 2), clusters=20)
