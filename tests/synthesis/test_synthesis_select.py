"""Selection rules against hand-computed bands and distances."""

from dataclasses import dataclass

import numpy as np
import pytest
from making import HalfJudge, synthesize

from ltaug.data.imageset import ImageSet
from ltaug.errors import BudgetError, OptionError
from ltaug.fields import option, resolve
from ltaug.methods import RULES, Entry
from ltaug.options import SynthesisOptions, judges_needed
from ltaug.synthesis.manifest import read_synthetic
from ltaug.synthesis.select import LOOK, Candidates, Rule, fit_centroids, fit_selection


class FakeJudge:
    """Reads the class off the first pixel and uses the first two pixels as features."""

    class_names = ("a", "b")

    def __init__(self, offset=0):
        self.offset = offset

    def features(self, images):
        return images.reshape(len(images), -1)[:, :2].astype(np.float32)

    def probabilities(self, images):
        read = (images.reshape(len(images), -1)[:, 0] + self.offset) >= 100
        return np.eye(2, dtype=np.float32)[read.astype(int)]


def judged(selection, images, labels):
    """The verdicts on a batch, and the distances that the manifest tells."""
    seen = Candidates(images, labels, selection.real)
    return selection(seen), seen.feature_distance.tolist()


def image_set(rows, labels):
    images = np.array(rows, np.uint8).reshape(len(rows), 1, 1, 3)
    return ImageSet(images, np.array(labels, np.int64), ("a", "b"), "real")


def test_the_band_is_quantiles_of_distances_to_the_centroid_of_the_others():
    features = np.array([[float(i), 0.0] for i in range(11)] + [[50.0, 0.0]], np.float32)
    labels = np.array([0] * 11 + [1])
    centroids = fit_centroids(features, labels, num_classes=2)
    low, high = centroids.band((0.0, 1.0))
    assert centroids.places[0].tolist() == [5.0, 0.0]
    # The image at 10 is 5.5 from the mean of the other ten (4.5); the one at 5 is at their mean.
    assert low[0] == 0
    assert high[0] == pytest.approx(5.5)
    # One image: its own centroid, and the pooled quantiles.
    assert centroids.places[1].tolist() == [50.0, 0.0]
    assert (low[1], high[1]) == (low[0], high[0])


def test_a_class_of_under_ten_images_takes_the_pooled_band():
    features = np.concatenate([np.arange(20)[:, None], 100 + 0.1 * np.arange(5)[:, None]]).astype(np.float32)
    labels = np.repeat([0, 1], [20, 5])
    _, high = fit_centroids(features, labels, num_classes=2).band((0.0, 0.5))
    own = np.quantile(np.abs(np.arange(20) - 9.5) * 20 / 19, 0.5)
    assert high[0] == pytest.approx(own)
    assert 0.2 < high[1] < high[0]


def test_each_rule_rejects_what_it_is_for_and_only_when_asked():
    rng = np.random.RandomState(0)
    real = image_set(np.concatenate([rng.randint(0, 50, (40, 3)), rng.randint(150, 200, (40, 3))]), np.repeat([0, 1], 40))
    images = np.concatenate([real.images[:1], np.array([[[[30, 20, 255]]], [[[99, 99, 99]]], [[[160, 160, 40]]]], np.uint8)])
    labels = np.array([0, 0, 0, 0])

    settings = {"select_agreement": {}, "select_distance": {"band": (0.0, 1.0)}, "drop_copies": {}}

    def verdicts(*rules):
        return judged(fit_selection(real, [FakeJudge()], {rule: settings[rule] for rule in rules}), images, labels)[0]

    assert verdicts() == ["kept"] * 4
    assert verdicts("drop_copies") == ["copy", "kept", "kept", "kept"]
    assert verdicts("select_distance") == ["kept", "kept", "far", "far"]
    assert verdicts("select_agreement") == ["kept", "kept", "kept", "disagree"]
    assert verdicts("drop_copies", "select_distance", "select_agreement") == ["copy", "kept", "far", "disagree"]


def test_of_several_rules_that_reject_an_image_the_first_registered_gives_the_verdict():
    real = image_set([[0, 0, 0], [0, 0, 2], [200, 0, 0], [200, 0, 2]], [0, 0, 1, 1])
    copy = real.images[2:3]  # of the other class: judges disagree, far from its own class, and a copy
    settings = {"drop_copies": {}, "select_distance": {"band": (0.0, 1.0)}, "select_agreement": {}}
    said = []
    for rules in (settings, {k: settings[k] for k in ("drop_copies", "select_distance")}, {"drop_copies": {}}):
        said += judged(fit_selection(real, [FakeJudge()], rules), copy, np.array([0]))[0]
    assert said == ["disagree", "far", "copy"]


def test_an_image_as_far_from_the_real_ones_as_they_are_from_each_other_is_no_copy():
    real = image_set([[0, 0, 0], [10, 10, 10]], [0, 1])  # 10 grey levels apart, hence the threshold
    images = np.array([[20, 20, 20], [20, 20, 19], [5, 5, 5]], np.uint8).reshape(3, 1, 1, 3)
    selection = fit_selection(real, [], {"drop_copies": {}})
    candidates = Candidates(images, np.array([0, 0, 0]), selection.real)
    np.testing.assert_array_equal(candidates.nearest[1], np.float32([10, (281 / 3) ** 0.5, 5]))
    assert selection(candidates) == ["kept", "copy", "copy"]


def test_every_judge_must_agree():
    real = image_set([[0, 0, 0], [200, 0, 0]], [0, 1])
    image = np.array([[[[95, 0, 0]]]], np.uint8)
    for judges, verdict in (([FakeJudge()], "kept"), ([FakeJudge(), FakeJudge(offset=10)], "disagree")):
        assert judged(fit_selection(real, judges, {"select_agreement": {}}), image, np.array([0]))[0] == [verdict]


@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES.about(rule).needs_judges])
def test_a_rule_that_needs_judges_is_refused_without_any(rule):
    with pytest.raises(OptionError, match=f"--{rule.replace('_', '-')} needs judges"):
        fit_selection(image_set([[0, 0, 0], [200, 0, 0]], [0, 1]), [], {rule: {}})


def test_judges_are_needed_only_by_rules_that_ask_them():
    given = [{}, {"drop_copies": True}, {"select_agreement": True}, {"select_distance": True, "judges": 3}]
    assert [judges_needed(options) for options in given] == [0, 0, SynthesisOptions.judges, 3]


def test_a_new_rule_is_an_entry_and_its_options(monkeypatch, generator, real, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Options(SynthesisOptions):
        select_bright: bool = option(False, "keep an image only if it is bright enough")
        darkest: float = option(10.0, "the darkest mean grey level that is kept", owner={"select_bright": True})

    def bright(real, *, darkest):
        return Rule("dark", lambda seen: seen.images.mean(axis=(1, 2, 3)) < darkest)

    monkeypatch.setitem(RULES.entries, "select_bright", Entry(where=bright, needs_judges=True))
    given = {"select_bright": True, "darkest": 127.5, "sample_steps": 2, "guidance": 0.0}
    assert judges_needed(given) == 2
    options = resolve(Options, given, image_side=8)
    record = synthesize(tmp_path / "s", generator, real, budget={"cat": 9}, judges=[HalfJudge()], options=options)
    kept = read_synthetic(tmp_path / "s").images
    assert len(kept) == 9
    assert kept.mean(axis=(1, 2, 3)).min() >= 127.5
    assert record["facts"]["rejected"] == {"dark": record["facts"]["candidates"]["cat"] - 9} != {"dark": 0}
    options = resolve(Options, {**given, "darkest": 256.0}, image_side=8)
    with pytest.raises(BudgetError, match=r"none of 100 candidates passed the selection \(--select-bright\)"):
        synthesize(tmp_path / "none", generator, real, budget={"cat": 2}, judges=[HalfJudge()], options=options)
    with pytest.raises(OptionError, match=r"--darkest 20\.0 is read only with --select-bright"):
        resolve(Options, {"darkest": 20.0}, image_side=8)


def test_bands_are_open_where_every_class_has_one_image():
    low, high = fit_centroids(np.zeros((2, 3), np.float32), np.array([0, 1]), num_classes=2).band((0.1, 0.9))
    assert low.tolist() == [0, 0]
    assert high.tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("quantiles", [(), (0.5,), (0.9, 0.1), (0.5, 0.5), (0.0, 1.5), (-0.1, 0.9), (0.1, 0.2, 0.3)])
def test_a_band_that_is_not_two_ascending_quantiles_is_refused(quantiles):
    given = {"select_distance": True}
    assert resolve(SynthesisOptions, {**given, "band": (0.0, 0.95)}, image_side=32).band == (0.0, 0.95)
    with pytest.raises(OptionError, match=r"two ascending numbers between 0 and 1|must be between 0"):
        resolve(SynthesisOptions, {**given, "band": quantiles}, image_side=32)


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
    selection = fit_selection(real, [Counting()], {"select_agreement": {}, "select_distance": {"band": (0.0, 0.5)}})
    together, distances = judged(selection, images, labels)
    for part in (slice(0, 1), slice(5, LOOK + 7), slice(LOOK, None)):
        alone = judged(selection, images[part], labels[part])
        assert alone == (together[part], distances[part])
    assert set(together) == {"kept", "far", "disagree"}


def test_judges_look_at_a_batch_once_for_each_thing_that_any_rule_asks(monkeypatch):
    looks = []

    class Noting(FakeJudge):
        def features(self, images):
            looks.append("features")
            return super().features(images)

        def probabilities(self, images):
            looks.append("probabilities")
            return super().probabilities(images)

    again = Rule("again", lambda seen: (seen.probabilities[0, :, 0] > 2) | (seen.features[:, 0] < 0))
    monkeypatch.setitem(RULES.entries, "again", Entry(where=lambda real: again, needs_judges=True))
    real = image_set([[0, 0, 0], [200, 0, 0]], [0, 1])
    settings = {"select_agreement": {}, "select_distance": {"band": (0.0, 1.0)}, "again": {}}
    selection = fit_selection(real, [Noting(), Noting()], settings)
    assert looks == ["features"] * 2, "at the real images"
    for _ in range(2):
        looks.clear()
        judged(selection, real.images, real.labels)
        assert sorted(looks) == ["features"] * 2 + ["probabilities"] * 2
