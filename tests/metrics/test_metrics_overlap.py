"""Leaks and copies: planted ones are found however they were altered, honest images pass, exactly by the distances."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from ltaug.data.imageset import ImageSet
from ltaug.data.load import load_dataset
from ltaug.metrics import overlap as overlap_module
from ltaug.metrics.overlap import COPY_LIMIT, leaked, overlap
from ltaug.options import DatasetOptions


@pytest.fixture(scope="module", params=[0, 1])
def digits(request):
    return load_dataset(DatasetOptions(imbalance=100, head=120, class_order="shuffled"), seed=request.param)


def altered(images, change):
    return dataclasses.replace(images, images=np.stack([change(image) for image in images.images]), known_hashes=None)


def jittered(images, seed=0):
    rng = np.random.default_rng(seed)
    return altered(images, lambda image: (image.astype(int) + rng.integers(-4, 5, image.shape)).clip(0, 255).astype(np.uint8))


def resized(image):
    twice = Image.fromarray(image[0]).resize((16, 16), Image.Resampling.BILINEAR)
    return np.asarray(twice.resize((8, 8), Image.Resampling.BICUBIC))[None]


def compressed(image):
    file = io.BytesIO()
    Image.fromarray(image[0]).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))[None]


def test_leaked_test_images_are_found_also_jittered_resized_or_compressed(digits):
    for planted, least in (
        (digits.test, 1.0),
        (jittered(digits.test), 1.0),
        (altered(digits.test, compressed), 0.5),
        (altered(digits.test, resized), 0.02),
    ):
        found = overlap(planted, digits.train, digits.test, seed=0, mirrored=False)
        assert found.near_test >= least
        assert leaked(found.near_test, found.checked)
        assert found.near_train <= COPY_LIMIT
        shown = [one.real == one.synthetic for one in found.leaks]
        assert np.mean(shown) > 0.99
        assert len(found.leaks) == round(found.near_test * found.checked)


def test_copies_of_training_images_are_copies_and_no_leaks(digits):
    for planted in (digits.train, jittered(digits.train)):
        found = overlap(planted, digits.train, digits.test, seed=0, mirrored=False)
        assert (found.near_test, found.near_train, found.leaks) == (0, 1, ())
        assert [one.real == one.synthetic for one in found.closest] == [True] * 12


def test_fresh_real_images_and_noise_are_neither(digits):
    noise = altered(digits.test, lambda image: np.random.default_rng(image.sum()).integers(0, 256, image.shape).astype(np.uint8))
    for honest in (digits.rest, altered(digits.rest, resized), noise):
        found = overlap(honest, digits.train, digits.test, seed=0, mirrored=False)
        assert found.near_test <= 0.005
        assert found.near_train <= 0.01
        assert not leaked(found.near_test, found.checked)


def test_mirrored_test_images_are_found_where_mirror_images_are_compared(digits):
    mirrored = altered(digits.test, lambda image: image[..., ::-1])
    assert overlap(mirrored, digits.train, digits.test, seed=0, mirrored=True).near_test == 1
    assert overlap(mirrored, digits.train, digits.test, seed=0, mirrored=False).near_test == 0


def grey(*levels):
    images = np.array(levels, np.uint8)[:, None, None, None].repeat(4, axis=3)
    return ImageSet(images, np.zeros(len(levels), np.int64), ("a",), "grey")


def test_what_counts_follows_from_the_distances():
    # Test images lie 40 apart, so the quantile is 40 and its half 20; those of training lie 10 apart.
    test, train = grey(100, 140), grey(0, 10, 115)
    found = overlap(grey(100, 108, 85, 119, 121, 165, 20, 21), train, test, seed=0, mirrored=False)
    assert (found.test_limit, found.train_limit) == (20, pytest.approx(10))
    # 108 lies 8 from a test image and 7 from one of training, 165 lies 25 from 140 and 65 from 100; the others leak or lie far.
    assert [(one.synthetic, one.real, one.distance) for one in found.leaks] == [(0, 0, 0), (2, 0, 15), (5, 1, 25)]
    assert found.near_test == 3 / 8
    assert found.near_train == 4 / 8
    assert found.real_nearest["median"] == 10


def test_without_other_images_to_compare_with_only_exact_copies_count():
    found = overlap(grey(100, 101, 50, 51), grey(50), grey(100), seed=0, mirrored=False)
    assert (found.near_test, found.near_train, found.real_nearest) == (0.25, 0.25, {})
    both = overlap(grey(100), grey(100), grey(100), seed=0, mirrored=False)
    assert (both.near_test, both.near_train) == (0, 1), "an image of both sets tells nothing new about the test set"


def test_of_more_images_a_sample_that_the_seed_draws_is_looked_at(digits, monkeypatch):
    monkeypatch.setattr(overlap_module, "CHECKED", 60)
    first, again, other = (overlap(digits.test, digits.train, digits.test, seed=s, mirrored=False) for s in (0, 0, 1))
    assert first == again != other
    assert (first.images, first.checked) == (500, 60)
    # Only some of the test images are looked at too; what is found is what it says it is.
    assert 0 < first.near_test < 0.5
    assert all(one.synthetic == one.real for one in first.leaks if one.distance == 0)


def test_few_near_images_may_be_chance():
    assert not leaked(3 / 30, 30)
    assert leaked(4 / 30, 30)
    assert not leaked(0.01, 10_000)
    assert leaked(0.0101, 10_000)
