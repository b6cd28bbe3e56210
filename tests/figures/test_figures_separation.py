"""Purity and silhouette against closed forms and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from ltaug.figures.separation import purity, separation, silhouette
from ltaug.metrics import distances


def clusters(*sizes, apart=100.0, dimensions=5, seed=0):
    """(features, labels): one cluster a class."""
    random = np.random.RandomState(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = apart * np.eye(len(sizes), dimensions)
    return (centres[labels] + random.randn(len(labels), dimensions)).astype(np.float32), labels.astype(np.int64)


def test_purity_is_the_share_of_own_class_among_the_nearest_others_as_by_scikit_learn(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK_PAIRS", 400)  # five images at a time
    features, labels = clusters(30, 25, 20, apart=1.0)
    index = NearestNeighbors(n_neighbors=11).fit(features).kneighbors(features, return_distance=False)[:, 1:]
    expected = (labels[index] == labels[:, None]).mean(1)
    assert 0.3 < expected.mean() < 0.95
    np.testing.assert_allclose(purity(features, labels), expected)


def test_a_class_of_few_images_can_be_as_pure_as_a_large_one():
    features, labels = clusters(40, 4, 2, 1)
    found = purity(features, labels)
    assert (found[:-1] == 1).all()
    assert np.isnan(found[-1])


def test_purity_of_points_on_a_line_by_hand():
    features = np.array([[0.0], [1.0], [2.5], [4.5], [7.0]], np.float32)
    labels = np.array([0, 1, 0, 0, 1])
    # Neighbours of 0: 1, 2.5; of 1: 0 (one looked at); of 2.5: 1, 4.5; of 4.5: 2.5, 7; of 7: 4.5 (one looked at).
    np.testing.assert_allclose(purity(features, labels, neighbours=10), [0.5, 0.0, 0.5, 0.5, 0.0])


def test_copies_of_an_image_do_not_push_it_out_of_its_own_neighbourhood():
    features, labels = np.zeros((4, 2), np.float32), np.array([0, 0, 1, 1])
    # All are equally near, lower index first: image 0 sees 1, image 1 sees 0, images 2 and 3 see 0.
    np.testing.assert_allclose(purity(features, labels, neighbours=1), [1, 1, 0, 0])


def test_silhouette_is_scikit_learns_and_by_hand_for_four_points():
    features, labels = clusters(30, 25, 20, apart=1.5)
    assert silhouette(features, labels).mean() == pytest.approx(silhouette_score(features, labels), abs=1e-6)
    line, pairs = np.array([[0.0], [1.0], [4.0], [5.0]], np.float32), np.array([0, 0, 1, 1])
    np.testing.assert_allclose(silhouette(line, pairs), [1 - 1 / 4.5, 1 - 1 / 3.5, 1 - 1 / 3.5, 1 - 1 / 4.5])


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_one_class_alone_or_single_images_have_no_silhouette(labels):
    assert np.isnan(silhouette(np.eye(3, dtype=np.float32), np.array(labels))).all()


def test_means_are_over_classes_and_what_cannot_be_measured_is_none():
    features, labels = clusters(30, 10, 2, 1)
    groups = {"many": (0,), "medium": (1,), "few": (2, 3, 4)}
    found = separation(features, labels, num_classes=5, groups=groups)
    values = silhouette(features, labels)
    classes = [values[labels == c].mean() for c in range(3)]
    assert found.classes["silhouette"] == [*map(pytest.approx, classes), None, None]
    assert found.overall["silhouette"] == pytest.approx(np.mean(classes))
    assert found.groups["few"]["silhouette"] == pytest.approx(classes[2])
    alone = separation(features[-1:], labels[-1:], num_classes=5, groups=groups)
    assert alone.overall == {"purity": None, "silhouette": None}
