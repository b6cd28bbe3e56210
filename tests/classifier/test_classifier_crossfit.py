"""Cross-fitting: which images a fold holds out, and what its classifier never sees."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ltaug.classifier import crossfit
from ltaug.classifier.crossfit import NEVER, folds_of, run_cross_fit
from ltaug.data.imageset import ImageSet
from ltaug.options import ClassifierOptions
from ltaug.records import HELD_OUT_FILE
from ltaug.runs import open_run
from ltaug.runtime import Seconds, make_runtime


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(2, 6), st.integers(0, 99))
def test_every_fold_leaves_some_of_each_class_to_train_on_and_shares_it_out_evenly(counts, folds, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    found = folds_of(labels, folds, seed=seed)
    for c, n in enumerate(counts):
        own = found[labels == c]
        if n == 1:
            assert own.tolist() == [NEVER]
        elif n:
            sizes = np.bincount(own, minlength=folds)
            assert sizes.sum() == n
            assert sizes.max() - sizes.min() <= 1
            assert sizes.max() < n
    assert np.array_equal(found, folds_of(labels, folds, seed=seed))


def images_of(labels):
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] + np.zeros((1, 1, 8, 8), np.uint8)
    return ImageSet(images, np.array(labels, np.int64), ("a", "b"), "toy")


def test_a_folds_classifier_sees_neither_its_images_nor_synthetic_ones_nearest_to_them(tmp_path, monkeypatch):
    train, synthetic = images_of([0, 0, 0, 1]), images_of([0, 0, 0, 1, 1])
    fold_of, nearest = np.array([0, 1, 0, NEVER]), np.array([0, 1, 2, 3, 0])
    seen = {}

    def fit(real, options, *, synthetic, **how):
        seen.update(real=real.images[:, 0, 0, 0].tolist(), synthetic=synthetic.images[:, 0, 0, 0].tolist())
        return None, Seconds(0.0, 0.0)

    monkeypatch.setattr(crossfit, "fit_classifier", fit)
    monkeypatch.setattr(crossfit, "look_at", lambda network, images, *rest: np.eye(2)[images[:, 0, 0, 0] // 2])
    how = {"stage": "cross-fit", "label": "f", "seed": 0, "options": {}, "inputs": {}, "versions": {}, "device": {}}
    with open_run(tmp_path / "fold", **how) as run:
        about = {"fold_of": fold_of, "fold": 0, "run": run, "runtime": make_runtime("cpu"), "seed": 0, "pretrained": None}
        run_cross_fit(train, synthetic, nearest, ClassifierOptions(), **about)
    assert seen == {"real": [1, 3], "synthetic": [1, 3]}
    with np.load(tmp_path / "fold" / HELD_OUT_FILE) as found:
        assert {name: found[name].tolist() for name in found} == {"index": [0, 2], "labels": [0, 0], "predicted": [0, 1]}
