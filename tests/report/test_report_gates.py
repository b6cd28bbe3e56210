"""Gates from the facts of runs, as an earlier version or an edited run may have them."""

import json

import pytest
from rewriting import rewrite

from ltaug.report.collect import collect
from ltaug.report.gates import gates

FINE = {"checked": 100, "images": 100, "near_test": 0.0, "near_train": 0.0004}


@pytest.fixture
def found(lab):
    """The gates of runs with these facts: {(arm, seed): (overlap, duplicates)}."""

    def write(facts):
        for (arm, seed), (overlap, duplicates) in facts.items():
            counts = None if arm == "real" else [1, 1, 1]
            path = lab.classifier(arm, seed, recall=[0.5] * 3, counts=[3, 2, 1], synthetic_counts=counts)
            facts = json.loads((path / "run.json").read_text())["facts"]
            rewrite(path, facts=facts | {"overlap": overlap, "duplicates": duplicates})
        return gates(collect([lab.root]))

    return write


def test_one_leaking_seed_counts_and_copies_are_averaged_over_seeds(found):
    many = FINE | {"checked": 10_000, "images": 20_000, "near_test": 0.01, "near_train": 0.05}
    counted = {"within_train": 0, "test_in_train": 0}
    leak, copies, duplicates = found({("real", 0): ({}, counted), ("a", 0): (FINE, counted), ("a", 1): (many, counted)})
    assert (leak.outcome, leak.kind) == ("ok", "leak")
    assert "at most 1 % of an arm's synthetic images" in leak.text
    assert "in random samples of 10,000" in leak.text
    assert (copies.outcome, copies.kind) == ("ok", "copies")
    assert copies.text.endswith(f"at most {50 * (FINE['near_train'] + 0.05):g} % of the synthetic images of an arm (limit 5 %).")
    assert (duplicates.outcome, duplicates.text) == ("ok", "No test image is a training image too.")


def test_leaks_void_the_comparison_and_copies_are_told_of_every_arm_over_the_limit(found):
    leaks, copies = FINE | {"near_test": 0.04}, FINE | {"near_train": 0.3}
    facts = {("real", 0): ({}, {}), ("a", 0): (copies, {}), ("b", 0): (leaks, {}), ("c", 0): (FINE | {"near_train": 1}, {})}
    leak, copied = found(facts)
    assert (leak.outcome, leak.arms) == ("stop", ("b",))
    assert "b 4 %; limit 1 %" in leak.text
    assert (copied.outcome, copied.arms) == ("warn", ("c", "a"))
    assert "c 100 % and a 30 %; limit 5 %" in copied.text


def test_copies_in_features_are_told_beside_those_in_grey_levels(found):
    altered, plain = FINE | {"near_features": 0.3}, FINE | {"near_train": 0.2, "near_features": 0.01}
    _, copied = found({("real", 0): ({}, {}), ("a", 0): (altered, {}), ("b", 0): (plain, {}), ("c", 0): (FINE, {})})
    assert (copied.outcome, copied.arms) == ("warn", ("b", "a"))
    assert "(b 20 %; in a classifier's features, shifted, cropped or changed otherwise: a 30 %; limit 5 %)" in copied.text


def test_few_copies_in_features_are_told_where_they_were_searched(found):
    _, copied = found({("real", 0): ({}, {}), ("a", 0): (FINE | {"near_features": 0.01}, {}), ("b", 0): (FINE, {})})
    assert copied.outcome == "ok"
    assert copied.text.endswith("at most 0.04 % of the synthetic images of an arm, in a classifier's features 1 % (limit 5 %).")


def test_few_images_near_a_test_image_are_told_and_stop_nothing(found):
    (leak, _) = found({("real", 0): ({}, {}), ("a", 0): (FINE | {"near_test": 0.03}, {})})
    assert (leak.outcome, leak.arms) == ("warn", ("a",))
    assert leak.text.endswith("so few of them that it may be chance.")


def test_an_arm_of_an_earlier_version_was_not_checked(found):
    leak, copies = found({("real", 0): ({}, {}), ("a", 0): (FINE, {}), ("b", 0): (FINE, {}), ("b", 1): ({}, {})})
    assert (leak.outcome, leak.arms) == ("warn", ("b",))
    assert leak.text == "Whether synthetic images of b show test images was not checked: the runs do not say."
    assert copies.outcome == "ok"
    assert "0.04 %" in copies.text


def test_without_synthetic_images_only_duplicates_are_asked_for(found):
    (gate,) = found({("real", 0): ({}, {"within_train": 2, "test_in_train": 1})})
    assert (gate.kind, gate.outcome) == ("duplicates", "warn")
    assert gate.text == "1 test image is a training image too, which flatters every arm; 2 training images repeat others."
