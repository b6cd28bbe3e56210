"""Selection rules against hand-computed bands and distances."""

import numpy as np
import pytest

from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.synthesis.select import LOOK, band_of, fit_band, fit_selection


class FakeJudge:
    """Reads the class off the first pixel and uses the first two pixels as features."""

    class_names = ("a", "b")
    digest = "0" * 64

    def __init__(self, offset=0):
        self.offset = offset

    def features(self, images):
        return images.reshape(len(images), -1)[:, :2].astype(np.float32)

    def probabilities(self, images):
        read = (images.reshape(len(images), -1)[:, 0] + self.offset) >= 100
        return np.eye(2, dtype=np.float32)[read.astype(int)]


def image_set(rows, labels):
    images = np.array(rows, np.uint8).reshape(len(rows), 1, 1, 3)
    return ImageSet(images, np.array(labels, np.int64), ("a", "b"), "real")


def test_the_band_is_quantiles_of_distances_to_the_centroid_of_the_others():
    features = np.array([[float(i), 0.0] for i in range(11)] + [[50.0, 0.0]], np.float32)
    labels = np.array([0] * 11 + [1])
    band = fit_band(features, labels, num_classes=2, band=(0.0, 1.0))
    assert band.centroids[0].tolist() == [5.0, 0.0]
    # The image at 10 is 5.5 from the mean of the other ten (4.5); the one at 5 is at their mean.
    assert band.low[0] == 0
    assert band.high[0] == pytest.approx(5.5)
    # One image: its own centroid, and the pooled quantiles.
    assert band.centroids[1].tolist() == [50.0, 0.0]
    assert (band.low[1], band.high[1]) == (band.low[0], band.high[0])


def test_a_class_of_under_ten_images_takes_the_pooled_band():
    features = np.concatenate([np.arange(20)[:, None], 100 + 0.1 * np.arange(5)[:, None]]).astype(np.float32)
    labels = np.repeat([0, 1], [20, 5])
    band = fit_band(features, labels, num_classes=2, band=(0.0, 0.5))
    own = np.quantile(np.abs(np.arange(20) - 9.5) * 20 / 19, 0.5)
    assert band.high[0] == pytest.approx(own)
    assert 0.2 < band.high[1] < band.high[0]


def test_each_rule_rejects_what_it_is_for_and_only_when_asked():
    rng = np.random.RandomState(0)
    real = image_set(np.concatenate([rng.randint(0, 50, (40, 3)), rng.randint(150, 200, (40, 3))]), np.repeat([0, 1], 40))
    images = np.concatenate([real.images[:1], np.array([[[[30, 20, 255]]], [[[99, 99, 99]]], [[[160, 160, 40]]]], np.uint8)])
    labels = np.array([0, 0, 0, 0])

    def verdicts(**asked):
        rules = {"agreement": False, "distance": False, "drop_copies": False, **asked}
        return fit_selection(real, [FakeJudge()], band=(0.0, 1.0), **rules)(images, labels).verdict

    assert verdicts() == ["kept"] * 4
    assert verdicts(drop_copies=True) == ["copy", "kept", "kept", "kept"]
    assert verdicts(distance=True) == ["kept", "kept", "far", "far"]
    assert verdicts(agreement=True) == ["kept", "kept", "kept", "disagree"]
    assert verdicts(agreement=True, distance=True, drop_copies=True) == ["copy", "kept", "far", "disagree"]


def test_an_image_as_far_from_the_real_ones_as_they_are_from_each_other_is_no_copy():
    real = image_set([[0, 0, 0], [10, 10, 10]], [0, 1])  # 10 grey levels apart, hence the threshold
    images = np.array([[20, 20, 20], [20, 20, 19], [5, 5, 5]], np.uint8).reshape(3, 1, 1, 3)
    rules = fit_selection(real, [], agreement=False, distance=False, drop_copies=True, band=(0.0, 1.0))
    verdicts = rules(images, np.array([0, 0, 0]))
    np.testing.assert_array_equal(verdicts.nearest_distance, np.float32([10, (281 / 3) ** 0.5, 5]))
    assert verdicts.verdict == ["kept", "copy", "copy"]


def test_every_judge_must_agree():
    real = image_set([[0, 0, 0], [200, 0, 0]], [0, 1])
    image = np.array([[[[95, 0, 0]]]], np.uint8)
    for judges, verdict in (([FakeJudge()], "kept"), ([FakeJudge(), FakeJudge(offset=10)], "disagree")):
        rules = fit_selection(real, judges, agreement=True, distance=False, drop_copies=False, band=(0.0, 1.0))
        assert rules(image, np.array([0])).verdict == [verdict]


def test_bands_are_open_where_every_class_has_one_image():
    band = fit_band(np.zeros((2, 3), np.float32), np.array([0, 1]), num_classes=2, band=(0.1, 0.9))
    assert band.low.tolist() == [0, 0]
    assert band.high.tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("quantiles", [(), (0.5,), (0.9, 0.1), (0.5, 0.5), (0.0, 1.5), (-0.1, 0.9), (0.1, 0.2, 0.3)])
def test_a_band_that_is_not_two_ascending_quantiles_is_refused(quantiles):
    assert band_of((0.0, 0.95)) == (0.0, 0.95)
    with pytest.raises(OptionError, match="two ascending quantiles"):
        band_of(quantiles)


def test_a_judge_always_looks_at_as_many_images_so_that_company_changes_nothing():
    class Counting(FakeJudge):
        """As real networks may, rounds by how many images it is given."""

        def features(self, images):
            return super().features(images) + 1e-3 * len(images)

        def probabilities(self, images):
            assert len(images) == LOOK
            return super().probabilities(images)

    rng = np.random.RandomState(0)
    real = image_set(rng.randint(0, 256, (40, 3)), rng.randint(0, 2, 40))
    images = rng.randint(0, 256, (LOOK + 30, 1, 1, 3)).astype(np.uint8)
    labels = rng.randint(0, 2, len(images))
    rules = fit_selection(real, [Counting()], agreement=True, distance=True, drop_copies=False, band=(0.0, 0.5))
    together = rules(images, labels)
    for part in (slice(0, 1), slice(5, LOOK + 7), slice(LOOK, None)):
        alone = rules(images[part], labels[part])
        assert alone.verdict == together.verdict[part]
        assert alone.feature_distance == together.feature_distance[part]
    assert set(together.verdict) == {"kept", "far", "disagree"}
