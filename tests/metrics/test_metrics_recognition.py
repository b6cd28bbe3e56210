"""Recognition metrics: hand values, scikit-learn, and the corners where a ratio divides by zero."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from ltaug.metrics.recognition import calibration_error, confusion, per_class, recognition


def one_hot(predicted, classes):
    return np.eye(classes, dtype=np.float32)[predicted]


def test_hand_values():
    labels, predicted = np.array([0, 0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 1, 1, 0])
    found = recognition(labels, one_hot(predicted, 3), groups={"many": [0], "few": [1, 2]})
    assert found["accuracy"] == 5 / 8
    assert found["macro_recall"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert found["macro_precision"] == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert found["recall/few"] == pytest.approx(0.5)
    assert found["precision/few"] == pytest.approx(0.25)
    assert found["f1/many"] == pytest.approx(0.75)
    assert found["ece"] == pytest.approx(3 / 8)
    assert found["never_predicted"] == 1
    assert confusion(labels, predicted, 3) == [[3, 1, 0], [0, 2, 0], [1, 1, 0]]
    assert per_class(labels, predicted, 3)["support"] == [4, 2, 2]


def test_macro_figures_are_scikit_learns():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.permutation(np.arange(400) % 7), rng.dirichlet(np.ones(7), 400)
    predicted = probabilities.argmax(1)
    found = recognition(labels, probabilities, groups={"all": range(7)})
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[f"macro_{name}"] == found[f"{name}/all"] == pytest.approx(score(labels, predicted, average="macro"))
        assert per_class(labels, predicted, 7)[name] == pytest.approx(score(labels, predicted, average=None).tolist())
    assert found["accuracy"] == accuracy_score(labels, predicted)
    assert found["macro_recall"] != found["accuracy"]  # classes of 57 and 58 images


def test_classes_without_test_images_or_predictions_never_make_a_nan():
    found = recognition(np.array([0, 0]), one_hot(np.array([0, 1]), 4), groups={"many": [0], "medium": [], "few": [2, 3]})
    assert all(math.isfinite(v) for v in found.values())
    assert found["macro_recall"] == 0.5  # over class 0, the only one tested
    assert not any("medium" in key or "few" in key for key in found)


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.6 (twice: one right, one wrong) and 0.9 (right).
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]])
    assert calibration_error(np.array([0, 1, 1]), probabilities) == pytest.approx((abs(1 - 1.2) + abs(1 - 0.9)) / 3)


@pytest.mark.parametrize("confidence", [0.5, 1.0])
def test_calibration_error_is_zero_for_a_calibrated_classifier(confidence):
    labels = np.array([0, 1]) if confidence < 1 else np.array([0, 0])
    assert calibration_error(labels, np.array([[confidence, 1 - confidence]] * 2)) == pytest.approx(0, abs=1e-12)
