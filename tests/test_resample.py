"""resample: every form of arrays and labels, imbalanced-learn's protocol, what is refused."""

import numpy as np
import pytest

import ltaug
from ltaug.errors import DataError, OptionError
from ltaug.machine import Machine

QUICK = {
    "generator": {"backbone": "vit", "depth": 2, "width": 8, "heads": 1, "steps": 3, "batch_size": 4},
    "synthesis": {"sample_steps": 2},
    "machine": Machine(device="cpu", threads=1),
}


def images_of(shape, count=9):
    return np.random.RandomState(0).randint(0, 256, (count, *shape)).astype(np.uint8)


LABELS = ["b"] * 6 + ["a"] * 2 + ["c"]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (3, 8, 8)])
def test_every_class_is_filled_up_and_what_was_given_stands_first_as_it_was(shape):
    images = images_of(shape)
    found, labels = ltaug.resample(images, LABELS, **QUICK)
    assert found.shape == (18, *shape)
    assert found.dtype == np.uint8
    assert np.array_equal(found[:9], images)
    assert labels[:9].tolist() == LABELS
    assert sorted(labels) == ["a"] * 6 + ["b"] * 6 + ["c"] * 6


def test_labels_may_be_any_numbers_and_the_budget_any_that_a_synthesis_takes():
    labels = [7] * 6 + [-2] * 3
    asked = QUICK | {"synthesis": {"sample_steps": 2, "per_class_budget": "2"}}
    found, made = ltaug.resample(images_of((8, 8)), labels, **asked)
    assert made[9:].tolist() == [-2, -2, 7, 7]
    assert made.dtype == np.asarray(labels).dtype
    assert len(found) == 13


def test_imbalanced_learn_takes_it_as_a_sampler_and_in_a_pipeline():
    imblearn = pytest.importorskip("imblearn")
    from imblearn.pipeline import make_pipeline
    from sklearn.base import clone
    from sklearn.dummy import DummyClassifier

    sampler = clone(imblearn.FunctionSampler(func=ltaug.resample, validate=False, kw_args=QUICK))
    _, labels = sampler.fit_resample(images_of((8, 8)), LABELS)
    assert sorted(labels) == ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    fitted = make_pipeline(sampler, DummyClassifier(strategy="prior")).fit(images_of((8, 8)), LABELS)
    assert fitted[-1].class_prior_ == pytest.approx(np.full(3, 1 / 3))


def test_the_runs_are_kept_where_asked_and_the_same_call_takes_them(tmp_path):
    heard = []
    first, _ = ltaug.resample(images_of((8, 8)), LABELS, out=tmp_path / "runs", **QUICK)
    again, _ = ltaug.resample(images_of((8, 8)), LABELS, out=tmp_path / "runs", listener=heard.append, **QUICK)
    assert np.array_equal(first, again)
    assert [event.text for event in heard].count("Already done.") == 2


def test_another_seed_gives_other_images():
    first, other = (ltaug.resample(images_of((8, 8)), LABELS, seed=seed, **QUICK)[0] for seed in (0, 1))
    assert not np.array_equal(first[9:], other[9:])


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (images_of((8, 8)).astype(np.float32), LABELS, "convert them to uint8"),
        (images_of((8, 8)), LABELS[:-1], "one whole number for each image"),
        (images_of((8, 8, 2)), LABELS, "have shape"),
        (images_of((8, 8)), ["a"] * 9, "nothing to classify"),
    ],
)
def test_images_and_labels_that_cannot_be_used_are_one_sentence(images, labels, words):
    with pytest.raises(DataError, match=words):
        ltaug.resample(images, labels, **QUICK)


def test_a_misspelt_option_is_refused():
    with pytest.raises(OptionError, match="did you mean 'steps'"):
        ltaug.resample(images_of((8, 8)), LABELS, generator={"stepz": 3})
