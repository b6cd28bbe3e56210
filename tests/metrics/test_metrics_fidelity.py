"""All measures together: the keys, each measure where it belongs, and a reason for everything that is missing."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from ltaug.data.imageset import ImageSet
from ltaug.metrics.classes import class_distances, moving_average
from ltaug.metrics.evaluated import Evaluated, Looked
from ltaug.metrics.frechet import frechet_distance, gaussian
from ltaug.metrics.inception_score import inception_score
from ltaug.metrics.kernel import kernel_distance
from ltaug.metrics.manifold import manifold
from ltaug.metrics.measures import MEASURES, Measure, measure_all
from ltaug.metrics.prd import f_scores

GROUPS = {"many": (0, 1), "few": (2, 3)}
OVERALL = {"fid", "kid", "kid_std", "inception_score", "inception_score_std", "precision", "recall", "density", "coverage"}
OVERALL |= {"f8", "f1_8", "class_fid", "consistency", "memorised_1", "memorised_5"}
BY_GROUP = ("fid", "precision", "recall", "density", "coverage", "class_fid", "consistency", "memorised_1")
TRAIN = np.random.default_rng(3).integers(0, 256, (40, 1, 4, 4)).astype(np.uint8)


def looked(count=80, *, seed=0, width=6, shift=0.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    features = (rng.normal(size=(count, width)) + labels[:, None] + shift).astype(np.float32)
    probabilities = rng.dirichlet(np.ones(4), count).astype(np.float32)
    return Looked(features, labels, probabilities, rng.dirichlet(np.ones(9), count).astype(np.float32))


def measured(generated=None, reference=None, num_classes=4, **options):
    options = {"groups": GROUPS, "clusters": 2, "mirrored": False, **options}
    generated = generated or looked()
    images = np.random.default_rng(4).integers(0, 256, (len(generated.labels), 1, 4, 4)).astype(np.uint8)
    train = ImageSet(TRAIN, np.arange(len(TRAIN)) % num_classes, tuple("abcde"[:num_classes]), "train")
    found = measure_all(Evaluated(generated, reference or looked(60, seed=1, shift=0.3), images, train, **options))
    missing = {key for key, value in found.summary.items() if value is None}
    missing |= {f"{name}[{c}]" for name, values in found.per_class.items() for c, v in enumerate(values) if v is None}
    assert set(found.reasons) == missing, "every None has its reason, and nothing else has"
    assert all(found.reasons.values())
    json.dumps(asdict(found), allow_nan=False)
    return found


def test_every_key_is_there_and_each_value_is_its_measures():
    a, b = looked(), looked(60, seed=1, shift=0.3)
    found = measured(a, b, neighbours=3, seed=7)
    assert set(found.summary) == OVERALL | {f"{name}/{group}" for name in BY_GROUP for group in GROUPS}
    assert not found.reasons
    x, y = a.features, b.features
    got = found.summary
    assert got["fid"] == frechet_distance(gaussian(x), gaussian(y))
    assert (got["kid"], got["kid_std"]) == kernel_distance(x, y, seed=7)
    assert (got["f8"], got["f1_8"]) == f_scores(x, y, clusters=8, seed=7)
    assert (got["inception_score"], got["inception_score_std"]) == inception_score(a.scores, seed=7)
    assert tuple(got[name] for name in ("precision", "recall", "density", "coverage")) == manifold(x, y, neighbours=3)
    assert got["consistency"] == (a.probabilities.argmax(1) == a.labels).mean()
    few, real = x[a.labels >= 2], y[b.labels >= 2]
    assert got["fid/few"] == frechet_distance(gaussian(few), gaussian(real))
    assert got["coverage/few"] == manifold(few, real, neighbours=3).coverage
    assert got["consistency/few"] == (a.probabilities.argmax(1) == a.labels)[a.labels >= 2].mean()


def test_class_figures_are_of_the_classs_images_alone():
    a, b = looked(), looked(60, seed=1)
    found = measured(a, b)
    own = [frechet_distance(gaussian(a.features[a.labels == c]), gaussian(b.features[b.labels == c])) for c in range(4)]
    assert found.per_class["class_fid"] == own
    assert found.per_class["class_fid_smoothed"] == pytest.approx(
        [np.mean(own[:3]), np.mean(own), np.mean(own), np.mean(own[1:])]
    )
    assert found.summary["class_fid"] == pytest.approx(np.mean(own))
    assert found.summary["class_fid/few"] == pytest.approx(np.mean(own[2:]))
    right = a.probabilities.argmax(1) == a.labels
    assert found.per_class["consistency"] == pytest.approx([right[a.labels == c].mean() for c in range(4)])


def test_a_class_that_cannot_be_measured_is_null_and_left_out_of_the_mean_and_said():
    a, b = looked(), looked(60, seed=1)
    kept = (a.labels != 3) | (np.arange(80) == 3)
    found = measured(
        replace(a, features=a.features[kept], labels=a.labels[kept], probabilities=a.probabilities[kept], scores=None), b
    )
    assert found.per_class["class_fid"][3] is None
    assert found.reasons["class_fid[3]"].startswith("too few generated images of class 3: 1,")
    assert found.summary["class_fid/few"] == found.per_class["class_fid"][2]
    assert any("without 1 of 4 classes" in warning for warning in found.warnings)
    assert found.reasons["inception_score"] == "the extractor gives no class probabilities"


def test_a_collapsed_class_is_measured_not_hidden():
    a = looked()
    a.features[a.labels == 2] = a.features[2]
    assert measured(a).per_class["class_fid"][2] > 1


def test_a_group_or_class_without_images_is_null():
    found = measured(groups={"many": (0, 1), "few": (4,)}, num_classes=5)
    for name in BY_GROUP:
        assert found.summary[f"{name}/few"] is None
    assert found.per_class["consistency"][4] is None
    assert found.reasons["consistency/few"] == "no image was generated"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(np.nan, "3 of 80 generated images are not numbers"), (1e20, "not numbers up to 1e+15"), (None, "all 80 generated images")],
)
def test_features_that_say_nothing_leave_every_measure_of_them_null_and_the_others_go_on(broken, reason):
    a = looked()
    if broken is None:
        a.features[:] = a.features[0]
    else:
        a.features[[1, 5, 9], 2] = broken
    found = measured(a)
    seeing = ("consistency", "inception_score", "inception_score_std", "memorised_1", "memorised_5")
    blind = {key for key in found.summary if key.split("/")[0] not in seeing}
    assert {key for key, value in found.summary.items() if value is None} == blind
    assert all(reason in found.reasons[key] for key in blind)
    assert found.summary["inception_score"] is not None


def test_constant_reference_features_are_named_as_the_references():
    b = looked(60)
    b.features[:] = 0
    assert measured(reference=b).reasons["fid"] == "all 60 reference images have the same features"


def test_an_extractor_that_is_no_classifier_leaves_consistency_null():
    found = measured(replace(looked(), probabilities=None, scores=None))
    assert found.reasons["consistency"] == found.reasons["consistency[0]"] == "the extractor does not classify these classes"
    broken = looked()
    broken.probabilities[0] = np.nan
    assert "not finite" in measured(broken).reasons["consistency/few"]


@pytest.mark.parametrize(("ours", "theirs"), [(0, 60), (60, 0), (1, 1), (3, 3), (6, 60)])
def test_too_few_images_never_make_a_nan(ours, theirs):
    found = measured(looked(ours), looked(theirs, seed=1), clusters=20)
    assert found.summary["f8"] is None
    assert (found.summary["fid"] is None) == (min(ours, theirs) < 2)


@pytest.mark.parametrize("scale", [1e-20, 1e14])
def test_very_small_and_very_large_features_are_measured(scale):
    found = measured(*(replace(x, features=x.features * np.float32(scale)) for x in (looked(), looked(60, seed=1))))
    assert not found.reasons
    usual = measured(looked(), looked(60, seed=1)).summary
    for name in ("precision", "recall", "density", "coverage"):
        assert found.summary[name] == pytest.approx(usual[name])
    assert found.summary["fid"] == pytest.approx(usual["fid"] * scale**2, rel=1e-4)


def test_what_to_bear_in_mind_is_said():
    said = " ".join(measured().warnings)
    assert "80 generated images, fewer than 10000" in said
    assert "60 reference images, fewer than 10000" in said
    assert "kid is of subsets of 30 images instead of 1000" in said
    assert "singular" not in said
    assert "a class" not in said
    assert "very same features" not in said
    assert "80 generated images in 90 dimensions" in " ".join(measured(looked(width=90), looked(60, width=90)).warnings)
    uneven = replace(looked(60), labels=np.repeat([0, 1, 2, 3], [30, 10, 10, 10]))
    assert "the reference has 10 to 30 images a class" in " ".join(measured(reference=uneven).warnings)
    assert "very same features" in " ".join(measured(looked(), looked()).warnings)


def test_the_average_of_five_is_cut_off_at_the_ends_and_skips_what_is_missing():
    assert moving_average([1, 2, 3, 4, 5, 6]) == [2, 2.5, 3, 4, 4.5, 5]
    assert moving_average([1, None, 3], window=3) == [1, 2, 3]
    assert moving_average([None, None, None, 8], window=3) == [None, None, 8, 8]


def test_class_distances_keep_class_order_and_say_which_side_is_short():
    a, b = looked(), looked(60, seed=1)
    there = b.labels != 1
    distances, reasons = class_distances(a.features, a.labels, b.features[there], b.labels[there], num_classes=4)
    assert [d is None for d in distances] == [False, True, False, False]
    assert reasons[1].startswith("too few reference images of class 1: 0")


def test_every_entry_of_the_registry_enters_its_key_and_its_spread():
    found = measured()
    spreads = {measure.spread for measure in MEASURES.values()} - {""}
    assert {key for key in found.summary if "/" not in key} == set(MEASURES) | spreads


def test_a_computation_that_several_measures_share_is_made_once(monkeypatch):
    calls = []

    def both(given, notes):
        calls.append(len(given.images))
        notes.note(["one", "two"], lambda: (1.0, 2.0))

    for name in ("one", "two"):
        monkeypatch.setitem(MEASURES, name, Measure(name, "lower", both))
    found = measured()
    assert (found.summary["one"], found.summary["two"], calls) == (1.0, 2.0, [80])
