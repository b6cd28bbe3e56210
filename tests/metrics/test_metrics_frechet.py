"""Frechet distance: closed forms, torch-fidelity's on the same features, moments taken in blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltaug.metrics import frechet
from ltaug.metrics.frechet import Gaussian, frechet_distance, gaussian, moments
from ltaug.metrics.measured import Unmeasurable


def features(count, width=8, *, seed=0, spread=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    return (rng.normal(size=(count, width)) @ mixing * spread + shift).astype(np.float32)


def test_diagonal_gaussians_have_a_closed_form():
    a = Gaussian(np.array([0.0, 1.0, 2.0]), np.diag([1.0, 2.0, 0.0]))
    b = Gaussian(np.array([3.0, 1.0, 0.0]), np.diag([4.0, 2.0, 5.0]))
    assert frechet_distance(a, b) == pytest.approx(9 + 4 + (1 - 4) ** 2 + 0 + 25)


def test_one_dimension_is_the_difference_of_means_and_of_standard_deviations():
    a, b = features(50, 1), features(30, 1, seed=1, spread=3, shift=2)
    wanted = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("count", "other"), [(60, 40), (60, 5), (5, 40), (4, 7), (8, 9), (2, 2)])
def test_it_is_torch_fidelitys_with_more_and_with_fewer_images_than_features(count, other):
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = features(count), features(other, seed=1, spread=2, shift=0.5)
    statistics = [fid.fid_features_to_statistics(torch.from_numpy(x).double()) for x in (a, b)]
    wanted = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    # The product's eigenvalues lose half the digits where it is singular; ours do not.
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(wanted, rel=1e-5)


def test_the_factor_of_few_images_gives_what_the_root_of_their_covariance_gives():
    few, many = features(6, 12), features(50, 12, seed=1)
    mean, covariance = moments(few)
    values, vectors = np.linalg.eigh(covariance)
    wanted = frechet_distance(Gaussian(mean, vectors * np.sqrt(values.clip(min=0))), gaussian(many))
    assert frechet_distance(gaussian(few), gaussian(many)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("count", [3, 200])
def test_of_a_sample_with_itself_it_is_zero_and_never_negative(count):
    a = features(count, 30, spread=100)
    found = frechet_distance(gaussian(a), gaussian(a[::-1]))
    assert 0 <= found < 1e-8 * np.trace(np.cov(a, rowvar=False))


@settings(max_examples=30)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 6), st.integers(0, 10**6))
def test_it_is_symmetric_and_at_least_zero(count, other, width, seed):
    rng = np.random.default_rng(seed)
    a, b = (gaussian(rng.normal(size=(n, width)).astype(np.float32) * rng.integers(0, 3, width)) for n in (count, other))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-9)
    assert frechet_distance(a, b) >= 0


@settings(max_examples=20)
@given(st.integers(2, 100), st.integers(1, 120))
def test_moments_in_blocks_are_those_of_all_images_at_once(count, block):
    x = features(count, 4, shift=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frechet, "_BLOCK", block)
        mean, covariance = moments(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0))
    np.testing.assert_allclose(covariance, np.cov(exact, rowvar=False), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("count", [0, 1])
def test_a_covariance_takes_two_images(count):
    with pytest.raises(Unmeasurable, match=f"too few generated images: {count}, .* at least 2"):
        gaussian(features(count), what="generated images")
