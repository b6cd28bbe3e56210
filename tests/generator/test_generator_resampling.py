"""Which images a step trains on: exact shares, independent of what was drawn before."""

import numpy as np
import pytest
import torch

from ltaug.data.imageset import ImageSet
from ltaug.generator.fit import TrainingData
from ltaug.generator.resampling import image_probabilities, resampled_rows_of_step, rows_of_step
from ltaug.methods import RESAMPLINGS

COUNTS = torch.tensor([9, 4, 0, 1])
LABELS = torch.arange(4).repeat_interleave(COUNTS)


def test_training_rows_are_one_permutation_of_the_set_after_another():
    rows = torch.cat([rows_of_step(s, batch_size=4, count=10, seed=0) for s in range(15)])
    for epoch in range(6):
        assert sorted(rows[10 * epoch : 10 * epoch + 10].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:20].tolist()
    assert len(rows_of_step(0, batch_size=64, count=10, seed=0)) == 64


@pytest.mark.parametrize(
    ("sampling", "shares"),
    [("natural", [9 / 14, 4 / 14, 0, 1 / 14]), ("rs", [1 / 3, 1 / 3, 0, 1 / 3]), ("rs-sqrt", [0.5, 1 / 3, 0, 1 / 6])],
)
def test_every_sampling_gives_classes_exactly_their_share_and_images_of_a_class_equal_ones(sampling, shares):
    p = image_probabilities(LABELS, COUNTS, power=RESAMPLINGS[sampling])
    by_class = torch.zeros(4, dtype=torch.float64).index_add(0, LABELS, p)
    torch.testing.assert_close(by_class, torch.tensor(shares, dtype=torch.float64))
    assert len(p[LABELS == 0].unique()) == 1


def test_resampled_rows_come_as_often_as_their_probabilities_say():
    p = image_probabilities(LABELS, COUNTS, power=0.0)
    rows = torch.cat([resampled_rows_of_step(s, batch_size=64, probabilities=p, seed=0) for s in range(500)])
    found = torch.bincount(rows, minlength=14).double() / len(rows)
    assert ((found - p).abs() <= 4 * (p * (1 - p) / len(rows)).sqrt()).all()


def test_a_steps_rows_are_its_own_and_another_seeds_differ():
    p = image_probabilities(LABELS, COUNTS, power=0.5)
    rows = lambda step, seed: resampled_rows_of_step(step, batch_size=16, probabilities=p, seed=seed).tolist()  # noqa: E731
    first = rows(7, 0)
    torch.manual_seed(1)
    assert rows(7, 0) == first
    assert rows(8, 0) != first
    assert rows(7, 1) != first


@pytest.mark.parametrize("sampling", RESAMPLINGS)
def test_training_data_are_drawn_by_the_sampling_named(sampling):
    images = np.zeros((14, 1, 2, 2), np.uint8)
    train = ImageSet(images, LABELS.numpy(), ("a", "b", "c", "d"), "x")
    data = TrainingData.on(torch.device("cpu"), train, sampling=sampling)
    rows = torch.cat([data.rows(s, batch_size=28, seed=0) for s in range(100)])
    share = (data.labels[rows] == 3).double().mean().item()
    assert share == pytest.approx({"natural": 1 / 14, "rs": 1 / 3, "rs-sqrt": 1 / 6}[sampling], abs=0.04)
