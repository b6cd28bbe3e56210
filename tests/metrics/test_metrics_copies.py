"""Copies in features: the ratio is exact, the limit is that of fresh real images, and what is a copy is found."""

import numpy as np
import pytest

from ltaug.data.imageset import ImageSet
from ltaug.metrics.copies import fit_search
from ltaug.metrics.overlap import overlap


def look(images):
    """The mean of every block of 2 x 2 pixels, which a little noise does not change much."""
    n, c, h, w = images.shape
    return np.asarray(images, np.float32).reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5)).reshape(n, -1)


def images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)


def noisy(some, by, seed=0):
    return np.clip(some + np.random.default_rng(seed).normal(0, by, some.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def real():
    return images(300, 1)


def by_hand(queries, real, but=None):
    """The ratios from all differences, image by image."""
    found = []
    for i, image in enumerate(queries):
        views = look(np.stack([image, image[..., ::-1]]))
        distance = np.linalg.norm(look(real)[None] - views[:, None], axis=2).min(axis=0)
        if but is not None:
            distance[but[i]] = np.inf
        first, second = np.sort(distance)[:2]
        found.append(first / second if first else 0)
    return found


def test_the_ratio_is_that_of_the_two_nearest_images_in_either_view(real):
    search = fit_search(real, look)
    queries = np.concatenate([images(20, 2), real[:5], noisy(real[5:10, ..., ::-1], 5)])
    np.testing.assert_allclose(search.ratios(queries), by_hand(queries, real), rtol=1e-4)
    own = np.arange(10)
    np.testing.assert_allclose(search.ratios(real[:10], but=own), by_hand(real[:10], real, own), rtol=1e-4)


@pytest.mark.parametrize("from_held_out", [True, False])
def test_about_one_in_a_hundred_fresh_images_counts_and_nearly_every_copy(real, from_held_out):
    search = fit_search(real, look, held_out=images(2000, 3) if from_held_out else None)
    assert search.copied(images(2000, 4)).mean() < 0.02
    for copies in (real, real[..., ::-1], noisy(real, 8), noisy(real[..., ::-1], 8)):
        assert search.copied(copies).mean() > 0.95


def test_held_out_images_that_are_training_images_do_not_lower_the_limit(real):
    held = images(500, 3)
    limit = fit_search(real, look, held_out=held).limit
    assert limit > 0.2
    assert fit_search(real, look, held_out=np.concatenate([held, real[:100], real[100:200, ..., ::-1]])).limit == limit


def test_where_every_held_out_image_is_a_training_image_only_those_count(real):
    search = fit_search(real, look, held_out=real[:5])
    assert search.limit == 0
    assert search.copied(np.concatenate([real[:2], images(3, 5)])).tolist() == [True, True, False, False, False]


def test_the_overlap_of_two_sets_has_the_share_in_features_where_a_classifier_looks(real):
    def image_set(some):
        return ImageSet(some, np.zeros(len(some), np.int64), ("a",), "noise")

    train, test, seen = image_set(real), image_set(images(400, 3)), {"seed": 0, "mirrored": False}
    mixed = image_set(np.concatenate([noisy(real[:30, ..., ::-1], 8), images(70, 6)]))
    found = overlap(mixed, train, test, look=look, **seen)
    assert found.near_features == pytest.approx(0.3, abs=0.03)
    assert found.near_train < 0.05
    assert found.features_limit == fit_search(real, look, held_out=test.images).limit
    without = overlap(mixed, train, test, **seen)
    assert (without.near_features, without.features_limit) == (None, None)
    assert without.near_train == found.near_train
