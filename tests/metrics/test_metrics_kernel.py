"""KID: a plain double loop, and torch-fidelity's on the same subsets of the same features."""

import numpy as np
import pytest
import torch

from ltaug.metrics import kernel
from ltaug.metrics.kernel import kernel_distance, subset_size
from ltaug.metrics.measured import Unmeasurable


def features(count, *, seed=0, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(count, 6)) + shift).astype(np.float32)


def naive(x, y):
    """The unbiased estimate of one pair of subsets, a pair of images at a time."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def mean(a, b, same):
        values = [(p @ q / len(p) + 1) ** 3 for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)]
        return np.mean(values)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_it_is_the_double_loop_over_each_subset():
    a, b = features(20), features(14, seed=1, shift=0.5)
    rng = np.random.RandomState(3)
    wanted = [naive(a[rng.choice(20, 7, replace=False)], b[rng.choice(14, 7, replace=False)]) for _ in range(5)]
    assert kernel_distance(a, b, subsets=5, seed=3) == pytest.approx((np.mean(wanted), np.std(wanted)))


def test_it_is_torch_fidelitys_on_the_same_subsets():
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = features(1100), features(1030, seed=1, shift=0.1)
    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    wanted = kid.kid_features_to_metric(x, y, kid_subsets=4, kid_subset_size=1000, rng_seed=2020, verbose=False)
    assert kernel_distance(a, b, subsets=4, seed=2020) == pytest.approx(tuple(wanted.values()), rel=1e-9)


def test_every_pair_once_and_subset_by_subset_come_to_the_same(monkeypatch):
    monkeypatch.setattr(kernel, "_BLOCK", 8)
    x, y = features(30), features(21, seed=1)
    rng = np.random.default_rng(0)
    of_x, of_y = (np.stack([rng.permutation(len(s))[:10] for _ in range(40)]) for s in (x, y))
    one_by_one = [kernel._sums(x, of_x[[s]], y, of_y[[s]])[0] for s in range(40)]  # 100 pairs of 630
    at_once = kernel._sums(x, of_x, y, of_y)  # 4000 pairs of 630
    assert at_once == pytest.approx(one_by_one)


def test_a_sample_is_not_apart_from_another_of_the_same_distribution():
    same, std = kernel_distance(features(400), features(400, seed=1))
    apart, _ = kernel_distance(features(400), features(400, seed=1, shift=0.5))
    assert abs(same) < 3 * std < apart


@pytest.mark.parametrize(("smaller", "size"), [(4, 2), (999, 499), (1000, 1000), (50_000, 1000)])
def test_subsets_have_1000_images_or_half_of_a_small_sample(smaller, size):
    assert subset_size(smaller) == size


def test_fewer_than_four_images_are_too_few():
    with pytest.raises(Unmeasurable, match="too few reference images: 3"):
        kernel_distance(features(10), features(3))
    with pytest.raises(Unmeasurable, match="too few generated images: 0"):
        kernel_distance(features(0), features(10))
