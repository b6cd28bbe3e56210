"""Selection rules against hand-computed bands and distances."""

from dataclasses import dataclass

import numpy as np
import pytest
from making import HalfJudge, synthesize

from ltaug.data.imageset import ImageSet
from ltaug.errors import BudgetError, OptionError
from ltaug.fields import option, resolve
from ltaug.manifest import read_synthetic
from ltaug.methods import RULES
from ltaug.options import SynthesisOptions, judges_needed
from ltaug.registry import Entry
from ltaug.selection import DIFFULT
from ltaug.synthesis.places import cosine, fit_centroids
from ltaug.synthesis.rules import diffult
from ltaug.synthesis.select import LOOK, Candidates, Rule, Selection, fit_selection
from ltaug.synthesis.stage import rules_of


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


class PooledJudge(FakeJudge):
    """Sees the mean of every block of 8 x 8 pixels."""

    def features(self, images):
        n, c, h, w = images.shape
        return np.asarray(images, np.float32).reshape(n, c, h // 8, 8, w // 8, 8).mean((1, 3, 5)).reshape(n, -1)


@pytest.mark.parametrize(("side", "found"), [(40, ["copy", "kept"]), (32, ["kept", "kept"])])
def test_above_32_pixels_an_altered_copy_is_rejected_in_the_judges_features(side, found):
    rng = np.random.default_rng(0)
    blocks = rng.integers(40, 200, (60, 1, side // 8, side // 8)).repeat(8, 2).repeat(8, 3)
    pixels = (blocks + rng.integers(-40, 40, blocks.shape)).astype(np.uint8)
    real = ImageSet(pixels[:50], np.repeat([0, 1], 25), ("a", "b"), "real")
    moved = np.roll(pixels[:1, ..., ::-1], 1, axis=3)  # mirrored and moved by a pixel
    images = np.concatenate([moved, pixels[50:51]])
    selection = fit_selection(real, [PooledJudge()], {"drop_copies": {}})
    assert judged(selection, images, np.array([0, 0]))[0] == found
    alone = fit_selection(real, [], {"drop_copies": {}})
    assert alone(Candidates(images, np.array([0, 0]), alone.real)) == ["kept", "kept"]


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


class StatedJudge(FakeJudge):
    """Has stated logits and features for an image, chosen by its first pixel."""

    class_names = ("a", "b", "c")

    def __init__(self, seed, width=4):
        rng = np.random.RandomState(seed)
        self.logits = rng.normal(0, 2, (256, 3))
        self.places = rng.normal(0, 1, (256, width)).astype(np.float32)

    def features(self, images):
        return self.places[images[:, 0, 0, 0]]

    def probabilities(self, images):
        powers = np.exp(self.logits[images[:, 0, 0, 0]])
        return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


JUDGES = [StatedJudge(1), StatedJudge(2), StatedJudge(3, width=2)]
SWITCHED_ON = {"select_diffult": "aid", "select_confidence": (0.3, 0.9), "select_margin": 0.2}


def three_classes(counts, seed=0):
    rng = np.random.RandomState(seed)
    labels = np.repeat([0, 1, 2], counts).astype(np.int64)
    return ImageSet(rng.randint(0, 256, (len(labels), 1, 1, 3)).astype(np.uint8), labels, ("a", "b", "c"), "real")


def candidates(count=600, seed=7):
    rng = np.random.RandomState(seed)
    return rng.randint(0, 256, (count, 1, 1, 3)).astype(np.uint8), rng.randint(0, 3, count)


def selection_of(real, rule, **given):
    """The rule as its options switch it on, with three judges."""
    options = resolve(SynthesisOptions, {rule: SWITCHED_ON.get(rule, True), **given}, image_side=8)
    return fit_selection(real, JUDGES, rules_of(options))


def words(values, low, high, below, above):
    """The verdicts of closed bands, one by one."""
    pairs = zip(values, low, high, strict=True)
    return [below if value < least else above if value > most else "kept" for value, least, most in pairs]


def features_of(images):
    return np.concatenate([judge.features(images) for judge in JUDGES], axis=1).astype(np.float64)


def test_confidence_keeps_what_the_judges_on_average_find_neither_unsure_nor_easy():
    images, labels = candidates()
    asked = np.mean([[judge.probabilities(images)[i, c] for i, c in enumerate(labels)] for judge in JUDGES], axis=0)
    said = judged(selection_of(three_classes((20, 5, 1)), "select_confidence"), images, labels)[0]
    assert said == words(asked, [0.3] * 600, [0.9] * 600, "unsure", "easy")
    assert set(said) == {"kept", "unsure", "easy"}


def test_the_bounds_of_confidence_are_kept():
    class Sure(FakeJudge):
        def probabilities(self, images):
            return np.repeat(np.array([[0.25, 0.75]], np.float32), len(images), axis=0)

    real = image_set([[0, 0, 0], [200, 0, 0]], [0, 1])
    for band, verdicts in (((0.25, 0.75), ["kept", "kept"]), ((0.3, 0.7), ["unsure", "easy"])):
        selection = fit_selection(real, [Sure()], {"select_confidence": {"select_confidence": band}})
        assert judged(selection, real.images, real.labels)[0] == verdicts


def test_the_margin_is_the_lead_over_the_strongest_other_class_in_the_judges_mean():
    images, labels = candidates()
    mean = np.mean([judge.probabilities(images) for judge in JUDGES], axis=0)
    lead = [row[c] - max(row[k] for k in range(3) if k != c) for row, c in zip(mean, labels, strict=True)]
    said = judged(selection_of(three_classes((20, 5, 1)), "select_margin"), images, labels)[0]
    assert said == ["ambiguous" if one < 0.2 else "kept" for one in lead]
    assert set(said) == {"kept", "ambiguous"}


def angle(a, b):
    return 1 - float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))


def test_the_prototype_rule_widens_the_real_images_quantiles_of_cosine_distances():
    real, (images, labels) = three_classes((30, 12, 2)), candidates()
    features, seen = features_of(real.images), features_of(images)
    own = {}
    for c in range(3):
        members = features[real.labels == c]
        own[c] = [angle(members[i], np.delete(members, i, axis=0).mean(0)) for i in range(len(members))]
    own[2] = own[0] + own[1] + own[2]  # under ten images: all classes pooled
    low, high = ({c: factor * np.quantile(own[c], q) for c in own} for factor, q in ((0.98, 0.05), (1.05, 0.95)))
    distance = [angle(x, features[real.labels == c].mean(0)) for x, c in zip(seen, labels, strict=True)]
    said = judged(selection_of(real, "select_prototype"), images, labels)[0]
    assert said == words(distance, [low[c] for c in labels], [high[c] for c in labels], "typical", "atypical")
    assert set(said) == {"kept", "typical", "atypical"}


def test_an_image_without_any_feature_has_no_angle():
    features = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(cosine(features, np.array([[1.0, 0.0], [6.0, 8.0]], np.float32)), [1, 0])


@pytest.mark.parametrize("mode", DIFFULT)
@pytest.mark.parametrize("counts", [(30, 4, 2), (30, 4, 1)])
def test_the_distance_modes_are_diffults(mode, counts):
    real, (images, labels) = three_classes(counts), candidates()
    features, seen = features_of(real.images), features_of(images)
    widest = []
    for c in range(3):
        members = features[real.labels == c]
        widest.append(max(np.linalg.norm(a - b) for a in members for b in members))
    if counts[2] == 1:
        widest[2] = np.median(widest[:2])
    verdicts = []
    for x, c in zip(seen, labels, strict=True):
        d, d_y = np.linalg.norm(x - features[real.labels == c].mean(0)), 0.4 * widest[c]
        inside = {"id": d <= d_y, "aid": d_y < d <= 2 * d_y, "id+aid": d <= 2 * d_y}[mode]
        verdicts.append("kept" if inside else "inside" if d <= d_y else "outside")
    selection = selection_of(real, "select_diffult", select_diffult=mode)
    np.testing.assert_allclose(selection.real.widths, widest, rtol=1e-6)
    # A class's width is larger than almost all distances to its centroid, so the verdicts are compared at .4 of it.
    selection.real.__dict__["widths"] = np.float32(0.4) * selection.real.widths
    again = Selection(selection.real, {"select_diffult": diffult(selection.real, select_diffult=mode)})
    said = judged(again, images, labels)[0]
    assert said == verdicts
    assert set(said) == {"kept", "outside"} | ({"inside"} if mode == "aid" else set())


def test_d_y_itself_is_in_distribution_and_twice_d_y_approximately():
    real = image_set([[0, 0, 0], [4, 0, 0], [100, 0, 0]], [0, 0, 1])  # the centroid of class a is at 2, d_y is 4
    images = np.array([[2, 0, 0], [6, 0, 0], [7, 0, 0], [10, 0, 0], [11, 0, 0]], np.uint8).reshape(5, 1, 1, 3)
    said = {}
    for mode in DIFFULT:
        settings = {"select_diffult": {"select_diffult": mode}}
        said[mode] = judged(fit_selection(real, [FakeJudge()], settings), images, np.zeros(5, int))[0]
    assert said == {
        "id": ["kept", "kept", "outside", "outside", "outside"],
        "aid": ["inside", "inside", "kept", "kept", "outside"],
        "id+aid": ["kept", "kept", "kept", "kept", "outside"],
    }


@pytest.mark.parametrize("mode", DIFFULT)
def test_where_no_class_has_two_images_no_distance_is_too_far(mode):
    real = three_classes((1, 1, 1))
    assert set(judged(selection_of(real, "select_diffult", select_diffult=mode), *candidates())[0]) == {"kept"}


@pytest.mark.parametrize("rule", RULES)
def test_a_verdict_depends_on_the_image_alone(rule):
    images, labels = candidates(LOOK + 30)
    selection = selection_of(three_classes((40, 12, 3)), rule)
    together, _ = judged(selection, images, labels)
    assert len(set(together)) > 1
    for part in (slice(3, 4), slice(5, LOOK + 7), slice(LOOK, None)):
        assert judged(selection, images[part], labels[part])[0] == together[part]
    order = np.random.RandomState(1).permutation(len(images))
    assert judged(selection, images[order], labels[order])[0] == [together[i] for i in order]


@pytest.mark.parametrize("rule", RULES)
def test_the_help_of_a_rule_says_every_word_of_its_verdicts(rule):
    selection = selection_of(three_classes((40, 12, 3)), rule)
    text = SynthesisOptions.__dataclass_fields__[rule].metadata["help"]
    assert [one.verdict for one in selection.rules[rule] if one.verdict not in text] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"select_confidence": (0.9, 0.3)}, "must be two ascending numbers between 0 and 1"),
        ({"select_confidence": (0.3,)}, "must be two ascending numbers between 0 and 1"),
        ({"select_confidence": (-0.1, 0.9)}, "select-confidence = -0.1 must be between 0 and 1"),
        ({"select_confidence": (0.3, 1.1)}, "select-confidence = 1.1 must be between 0 and 1"),
        ({"select_margin": 0}, "select-margin = 0.0 must be between 0.01 and 0.99"),
        ({"select_margin": 1.5}, "select-margin = 1.5 must be between"),
        ({"select_diffult": "ad"}, "did you mean 'aid'"),
        ({"judges": 3}, "or --select-confidence or --select-margin or --start confusable"),
    ],
)
def test_options_of_the_rules_that_cannot_be_are_refused_in_a_sentence(given, said):
    with pytest.raises(OptionError) as caught:
        resolve(SynthesisOptions, given, image_side=8)
    assert said in str(caught.value)


def test_no_band_of_confidence_is_no_rule():
    given = {"select_confidence": (), "select_margin": None}
    assert rules_of(resolve(SynthesisOptions, given, image_side=8)) == {}
    assert [judges_needed(one) for one in (given, {"select_confidence": (0.3, 0.9)}, {"select_margin": 0.2})] == [0, 2, 2]


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
    assert set(together) == {"kept", "near", "far", "disagree"}


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
