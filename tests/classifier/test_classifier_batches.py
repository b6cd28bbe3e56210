"""Batches: what each is made up of, exactly, and that any step can be planned on its own."""

from collections import Counter

import numpy as np
import pytest
import torch

from ltaug.classifier.batches import make_pool, plan_batches, shuffled, to_input
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.fields import checked
from ltaug.options import ClassifierOptions


def image_set(counts, source="set"):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.arange(len(labels) * 4).astype(np.uint8).reshape(-1, 1, 2, 2)
    return ImageSet(images, labels, tuple("abcdefgh"[: len(counts)]), source)


REAL, MADE = image_set([20, 6, 1]), image_set([0, 14, 19])


def plan(synthetic=MADE, *, batch_size=12, sampling="natural", fraction=None, seed=0):
    options = ClassifierOptions(batch_size=batch_size, sampling=sampling, synthetic_fraction=fraction)
    return plan_batches(REAL, synthetic, options, seed=seed)


def test_an_epoch_takes_every_image_of_the_merged_set_once():
    for epoch in np.split(plan(batch_size=12).indices(0, 10).ravel(), 2):  # 2 x 60 images
        assert sorted(epoch) == list(range(60))
    first, second = np.split(plan(batch_size=12).indices(0, 10).ravel(), 2)
    assert list(first) != list(second)


@pytest.mark.parametrize("fraction", [None, 0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("sampling", ["natural", "balanced"])
@pytest.mark.parametrize("synthetic", [MADE, None])
def test_a_plan_is_a_function_of_seed_and_step_alone(synthetic, sampling, fraction):
    whole = plan(synthetic, sampling=sampling, fraction=fraction).indices(0, 40)
    assert whole.shape == (40, 12)
    parts = [plan(synthetic, sampling=sampling, fraction=fraction).indices(s, n) for s, n in ((0, 1), (1, 16), (17, 23))]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, plan(synthetic, sampling=sampling, fraction=fraction, seed=1).indices(0, 40))


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 12)])
@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_a_synthetic_fraction_holds_in_every_batch_and_uses_every_synthetic_image(sampling, fraction, expected):
    index = plan(sampling=sampling, fraction=fraction).indices(0, 50)
    assert ((index >= 27).sum(1) == expected).all()
    assert len(np.unique(index[index >= 27])) == (33 if expected else 0)


def test_balanced_batches_take_real_classes_equally_often_and_every_image_of_a_class_in_turn():
    index = plan(None, sampling="balanced").indices(0, 20)
    assert all(Counter(REAL.labels[row]) == {0: 4, 1: 4, 2: 4} for row in index)
    used = Counter(index.ravel().tolist())
    assert {used[i] for i in range(20)} == {4}
    assert used[26] == 80


def test_balanced_batches_of_the_merged_set_keep_its_share_of_synthetic_images():
    index = plan(sampling="balanced").indices(0, 20)
    assert ((index >= 27).sum(1) == round(12 * 33 / 60)).all()


def test_a_row_of_permutations_can_be_entered_anywhere():
    assert np.array_equal(shuffled(5, 0, 40, "x")[13:31], shuffled(5, 13, 18, "x"))


def test_an_unknown_sampling_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match="did you mean 'balanced'"):
        plan(sampling="balance")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"synthetic-fraction": 0.01, "batch-size": 12}, "--synthetic-fraction 0.01 of 12 images is 0"),
        ({"synthetic-fraction": 0.99, "batch-size": 12}, "--synthetic-fraction 0.99 of 12 images is 12"),
        ({"synthetic-fraction": 1, "synthetic-weight": 0}, "nothing to learn from"),
    ],
)
def test_a_share_of_synthetic_images_that_no_batch_can_have_is_refused_with_the_options(given, said):
    with pytest.raises(OptionError, match=f"a recipe: .*{said}"):
        checked(ClassifierOptions, given, where="a recipe")
    with pytest.raises(OptionError, match=said):
        ClassifierOptions(**{name.replace("-", "_"): value for name, value in given.items()})


def test_the_pool_is_the_real_set_followed_by_the_synthetic_one():
    pool = make_pool(REAL, MADE, device=torch.device("cpu"))
    ((index, images),) = pool.images.batches([torch.arange(60)])
    assert np.array_equal(images.numpy(), np.concatenate([REAL.images, MADE.images]))
    assert index.tolist() == list(range(60))
    assert pool.sources.tolist() == [0] * 27 + [1] * 33
    assert pool.labels.tolist() == [*REAL.labels, *MADE.labels]
    assert pool.class_counts.tolist() == [[20, 6, 1], [0, 14, 19]]


def test_the_network_sees_values_from_minus_one_to_one():
    assert to_input(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).ravel().tolist() == [-1.0, 1.0]
