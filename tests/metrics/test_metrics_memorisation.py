"""Memorisation: planted copies are found, noise is not, thresholds are those of the class."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from ltaug.data.imageset import ImageSet
from ltaug.metrics.evaluated import Evaluated, Looked
from ltaug.metrics.measured import Notebook
from ltaug.metrics.memorisation import Pair, closest_pairs, memorised, thresholds


def images(count, *, seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (count, 1, 6, 6)).astype(np.uint8)


def image_set(pixels, labels, classes=2):
    return ImageSet(pixels, np.asarray(labels, np.int64), tuple("abcdef"[:classes]), "train")


def measure(generated, labels, train, *, mirrored=False):
    """What is measured of generated images that no extractor has an opinion of, and the three closest pairs."""
    looked = Looked(np.zeros((len(generated), 1), np.float32), np.asarray(labels, np.int64))
    given = Evaluated(looked, looked, generated, train, mirrored, {"many": [0], "few": [1]})
    notes = Notebook()
    memorised(given, notes)
    return notes, closest_pairs(given, 3)


def test_planted_copies_are_found_and_shown_first():
    train = image_set(images(300), np.repeat([0, 1], 150))
    generated = images(200, seed=1)
    generated[17], generated[40] = train.images[5], train.images[200]
    generated[40, 0, 0, 0] ^= 1  # one grey level of one pixel
    labels = np.repeat([0, 1], 100)
    measures, pairs = measure(generated, labels, train)
    assert [(p.generated, p.train) for p in pairs[:2]] == [(17, 5), (40, 200)]
    assert [p.distance for p in pairs[:2]] == pytest.approx([0, 1 / 6])
    assert pairs[0].threshold == pairs[1].threshold > 1
    without, _ = measure(images(200, seed=1), labels, train)
    for key in ("memorised_1", "memorised_5"):
        assert measures.summary[key] == pytest.approx(without.summary[key] + 2 / 200)
    assert measures.summary["memorised_1/many"] == pytest.approx(without.summary["memorised_1/many"] + 2 / 100)
    assert measures.summary["memorised_1/few"] == without.summary["memorised_1/few"]


def test_a_memory_of_a_class_shows_in_that_class():
    train = image_set(images(60), np.repeat([0, 1], [50, 10]))
    generated = np.concatenate([images(20, seed=1), train.images[50:60], train.images[50:60]])
    measures, _ = measure(generated, np.repeat([0, 1], 20), train)
    assert measures.per_class["memorised_1"] == [0, 1]
    assert measures.summary["memorised_1"] == 0.5
    assert (measures.summary["memorised_1/many"], measures.summary["memorised_1/few"]) == (0, 1)


def test_images_as_new_as_the_training_images_are_to_each_other_count_as_often_as_the_quantile_says():
    train = image_set(images(2000), np.arange(2000) % 2)
    measures, _ = measure(images(2000, seed=1), np.arange(2000) % 2, train)
    # The quantile itself is an estimate: of 20 (100) images, which come in pairs of mutual neighbours.
    assert 0 < measures.summary["memorised_1"] < 0.02
    assert 0.03 < measures.summary["memorised_5"] < 0.08


def test_a_copy_of_a_training_image_that_is_there_twice_is_still_a_copy():
    train = image_set(images(10)[np.arange(20) % 10], np.repeat([0, 1], 10))
    measures, pairs = measure(train.images[:1], [0], train)  # all thresholds are 0
    assert measures.summary["memorised_1"] == 1
    assert pairs == [Pair(0, 0, 0.0, 0.0)]


def test_a_mirrored_copy_counts_where_the_generator_was_trained_with_flips():
    train = image_set(images(100), np.arange(100) % 2)
    generated = train.images[:10, :, :, ::-1]
    assert measure(generated, np.arange(10) % 2, train)[0].summary["memorised_5"] < 0.5
    assert measure(generated, np.arange(10) % 2, train, mirrored=True)[0].summary["memorised_5"] == 1


def test_a_threshold_is_the_classs_own_where_its_images_are_enough_for_the_quantile():
    between = np.concatenate([np.arange(100), 1000 + np.arange(99)]).astype(np.float32)
    labels = np.repeat([0, 1], [100, 99])
    own = thresholds(between, labels, 0.01, num_classes=3)
    assert own == pytest.approx([np.quantile(np.arange(100), 0.01), np.quantile(between, 0.01), np.quantile(between, 0.01)])
    assert thresholds(between, labels, 0.05, num_classes=2)[1] == pytest.approx(1000 + 98 * 0.05)


def test_classes_on_the_pooled_threshold_are_said():
    train = image_set(images(150), np.repeat([0, 1], [120, 30]))
    assert measure(images(4), [0, 0, 1, 1], train)[0].warnings == [
        "memorised_1: 1 of 2 classes have fewer than 100 training images and take the threshold of all classes",
    ]
    train = image_set(images(50), np.repeat([0, 1], 25))
    assert "little more than the smallest" in measure(images(4), [0, 0, 1, 1], train)[0].warnings[0]


@pytest.mark.parametrize(
    ("real", "generated", "reason"), [(1, 4, "too few training images: 1"), (0, 4, "images: 0"), (9, 0, "no image was")]
)
def test_what_cannot_be_told_is_null_with_its_reason(real, generated, reason):
    train = image_set(images(real), [0] * real)
    measures, pairs = measure(images(generated), [0] * generated, train)
    assert len(pairs) == (min(3, generated) if real else 0)
    assert all(p.threshold is None for p in pairs)
    missing = set(measures.summary) | {f"{name}[{c}]" for name in measures.per_class for c in range(2)}
    assert set(measures.reasons) == missing
    assert reason in measures.reasons["memorised_5"]
    json.dumps(asdict(measures), allow_nan=False)
