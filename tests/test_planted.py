"""Synthetic sets of known worth through the whole tool, at tiny scale: is every verdict right? (benchmarks/planted.py)"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

CLASSES, MODES, SIDE = 4, 4, 8


@pytest.fixture(scope="module")
def planted():
    spec = importlib.util.spec_from_file_location("planted", Path(__file__).parents[1] / "benchmarks" / "planted.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    return module


def write_toy(path):
    """Classes of several noisy patterns each, so that a few images do not show a class."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(0, 28, (CLASSES, MODES, SIDE, SIDE))

    def make(per_class):
        labels = np.repeat(np.arange(CLASSES), per_class)
        shown = patterns[labels, rng.integers(0, MODES, len(labels))] + rng.normal(0, 38, (len(labels), SIDE, SIDE))
        images = 128 + rng.uniform(0.5, 1.5, (len(labels), 1, 1)) * shown
        return np.clip(images, 0, 255).astype(np.uint8), labels

    (images, labels), (test_images, test_labels) = make(300), make(100)
    np.savez(path, images=images, labels=labels, test_images=test_images, test_labels=test_labels)


@pytest.mark.slow
def test_every_planted_set_gets_the_right_verdict(planted, tmp_path):
    write_toy(tmp_path / "toy.npz")
    dataset = {"dataset": str(tmp_path / "toy.npz"), "imbalance": 20.0, "head": 100, "class_order": "shuffled"}
    given, draws = {"steps": 80, "batch_size": 32}, 5
    refused = planted.classifiers(dataset, given, tmp_path / "runs", draws, 1, {"loss": "logit-adjusted"})
    assert list(refused) == ["leaked test images"]
    assert "of 246 synthetic images show test images" in refused["leaked test images"]
    found = {kind: planted.report_on(kind, tmp_path / "runs", draws) for kind in planted.RIGHT if kind not in refused}
    assert {kind: planted.wrong(kind, report) for kind, report in found.items()} == dict.fromkeys(found, "")
    assert found["oracle"].verdict.recommendation.arm == "oracle"
    assert found["wrong labels"].verdict.recommendation.action == "without"
