"""Precision, recall, density, coverage: plain NumPy, torch-fidelity, copies, and memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltaug.metrics import distances
from ltaug.metrics.manifold import manifold
from ltaug.metrics.measured import Unmeasurable


def naive(generated, reference, k):
    def apart(a, b):
        return np.square(np.subtract(a[:, None], b, dtype=np.float64)).sum(2)

    def radius(x):
        d = apart(x, x)
        np.fill_diagonal(d, np.inf)
        return np.sort(d, axis=1)[:, k - 1]

    d = apart(generated, reference)
    in_reference, in_generated = d <= radius(reference), d <= radius(generated)[:, None]
    return (
        in_reference.any(1).mean(),
        in_generated.any(0).mean(),
        in_reference.sum() / (k * len(generated)),
        in_reference.any(0).mean(),
    )


def features(count, *, seed=0, spread=1.0, width=5):
    return (np.random.default_rng(seed).normal(size=(count, width)) * spread).astype(np.float32)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_they_are_those_of_plain_numpy(k):
    generated, reference = features(70), features(50, seed=1, spread=1.4)
    assert manifold(generated, reference, neighbours=k) == pytest.approx(naive(generated, reference, k))


def test_precision_and_recall_are_torch_fidelitys():
    prc = pytest.importorskip("torch_fidelity.metric_prc")
    generated, reference = features(300), features(200, seed=1, spread=1.4)
    tensors = (torch.from_numpy(generated).double(), torch.from_numpy(reference).double())
    wanted = prc.prc_features_to_metric(*tensors, prc_neighborhood=5, verbose=False)
    found = manifold(generated, reference)
    assert (found.precision, found.recall) == pytest.approx((wanted["precision"], wanted["recall"]))


def test_a_hand_example_on_a_line():
    # Reference balls (k = 1): 0 +- 1, 1 +- 1, 5 +- 4. Generated balls: 0.5 +- 1.5, 2 +- 1.5, 20 +- 18.
    found = manifold(np.array([[0.5], [2.0], [20.0]]), np.array([[0.0], [1.0], [5.0]]), neighbours=1)
    assert found == pytest.approx((2 / 3, 1, 4 / 3, 1))


@pytest.mark.parametrize("copies", [4, 6, 30])
def test_copies_have_balls_of_radius_zero_that_hold_copies(copies):
    generated, reference = features(40), features(40, seed=1)
    reference[:copies], generated[:3] = reference[0], reference[0]
    generated[3:20] = generated[3]
    assert manifold(generated, reference) == pytest.approx(naive(generated, reference, 5))


def test_the_same_images_are_fully_precise_and_recalled():
    found = manifold(features(60) + 1000, features(60)[::-1] + 1000)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density >= 1  # each lies in its own ball and in those of whom it is a neighbour


@settings(max_examples=30)
@given(st.integers(4, 25), st.integers(4, 25), st.integers(1, 3), st.integers(0, 10**6))
def test_precision_is_recall_with_the_sides_changed(count, other, k, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 4, (n, 2)).astype(np.float32) for n in (count, other))  # full of ties and copies
    found, changed = manifold(a, b, neighbours=k), manifold(b, a, neighbours=k)
    assert (found.precision, found.recall) == (changed.recall, changed.precision)
    assert found == pytest.approx(naive(a, b, k))


@pytest.mark.parametrize("counts", [(5, 20), (20, 5), (0, 20)])
def test_k_neighbours_take_more_than_k_images(counts):
    with pytest.raises(Unmeasurable, match=r"too few (generated|reference) images: [05], .* at least 6"):
        manifold(features(counts[0]), features(counts[1]))


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch):
    count, width = 2000, 16
    monkeypatch.setattr(distances, "BLOCK_PAIRS", 40 * count)
    held = []
    bounds = distances._bounds

    def watched(a, b):
        for block in bounds(a, b):
            held.append(block[1].numel())
            yield block

    monkeypatch.setattr(distances, "_bounds", watched)
    generated, reference = features(count, width=width), features(count, seed=1, width=width)
    tracemalloc.start()
    manifold(generated, reference)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert max(held) == 40 * count  # torch's blocks, which tracemalloc does not see
    assert peak < count * count / 4  # NumPy's arrays: less than a bit or two a pair
