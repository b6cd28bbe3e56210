"""Inception score: extremes known in closed form, and torch-fidelity's on the same probabilities."""

import numpy as np
import pytest
import torch

from ltaug.metrics.inception_score import inception_score
from ltaug.metrics.measured import Unmeasurable


def test_it_is_torch_fidelitys():
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(203, 7))) * 3
    wanted = isc.isc_features_to_metric(logits, splits=10, rng_seed=2020)
    found = inception_score(logits.softmax(1).numpy(), seed=2020)
    assert found == pytest.approx(tuple(wanted.values()), rel=1e-9)


def test_sure_and_even_is_the_number_of_classes_and_anything_unsure_is_one():
    sure = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
    assert inception_score(sure, splits=1) == pytest.approx((4, 0))
    assert inception_score(np.full((40, 4), 0.25, np.float32)) == pytest.approx((1, 0))
    assert inception_score(sure[:1].repeat(40, 0)) == pytest.approx((1, 0))


def test_a_hand_value():
    # p(y) = (.75, .25): KLs log(1/.75) and .5 log(.5/.75) + .5 log(.5/.25).
    wanted = np.exp((np.log(1 / 0.75) + 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(2)) / 2)
    assert inception_score(np.array([[1, 0], [0.5, 0.5]]), splits=1)[0] == pytest.approx(wanted)


def test_images_in_class_order_fall_into_all_parts():
    ordered = np.eye(4, dtype=np.float32)[np.repeat(np.arange(4), 100)]
    assert inception_score(ordered)[0] > 3.5  # part by part in this order it would be near 1


def test_too_few_images_and_broken_probabilities_have_no_score():
    with pytest.raises(Unmeasurable, match=r"too few generated images: 19, .* at least 20"):
        inception_score(np.ones((19, 1)))
    with pytest.raises(Unmeasurable, match="not finite"):
        inception_score(np.full((40, 2), np.nan))
