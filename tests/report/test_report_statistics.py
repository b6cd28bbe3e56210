"""The report's statistics against values worked out by hand."""

import json

import pytest

from ltaug.report.statistics import holm, paired, spread
from ltaug.report.wording import interval_text, paired_text, several, signed, spread_text


def test_a_spread_is_the_mean_and_the_sample_standard_deviation():
    found = spread([1.0, 2.0, 4.0])
    assert found.mean == pytest.approx(7 / 3)
    assert found.sd == pytest.approx(1.5275252)  # sqrt(((4/3)^2 + (1/3)^2 + (5/3)^2) / 2)
    assert spread([0.5]).sd is None


def test_a_paired_difference_has_the_t_interval_from_the_tables():
    found = paired({0: 0.6, 1: 0.7, 2: 0.8}, {0: 0.5, 1: 0.5, 2: 0.5})
    assert found.mean == pytest.approx(0.2)
    assert found.sd == pytest.approx(0.1)
    half = 4.3026527 * 0.1 / 3**0.5  # t(0.975, 2 degrees of freedom) from the table
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half))
    assert found.p == pytest.approx(0.0741799)  # 1 - t / sqrt(t^2 + 2) for t = 2 sqrt(3)
    assert (found.wins, found.losses) == (3, 0)
    assert found.outcome == "tie"


def test_pairing_removes_what_the_seeds_share():
    found = paired({0: 0.91, 1: 0.52, 2: 0.73}, {0: 0.80, 1: 0.40, 2: 0.60})
    assert found.mean == pytest.approx(0.12)
    assert found.outcome == "up"
    assert paired({0: 0.80, 1: 0.40, 2: 0.60}, {0: 0.91, 1: 0.52, 2: 0.73}).outcome == "down"


def test_only_shared_seeds_count_and_the_others_are_named():
    found = paired({0: 1.0, 1: 2.0, 5: 100.0}, {0: 0.5, 1: 1.0, 7: -100.0})
    assert found.mean == pytest.approx(0.75)
    assert (found.n, found.seeds, found.left_out) == (2, (0, 1), (5, 7))


@pytest.mark.parametrize(
    ("first", "second", "mean", "reason"),
    [
        ({0: 0.7}, {0: 0.5}, 0.2, "one seed"),
        ({0: 0.7, 1: 0.8}, {0: 0.5, 1: 0.6}, 0.2, "all 2 differences are equal"),
        ({0: 0.7}, {1: 0.5}, None, "no seed"),
    ],
)
def test_where_there_is_no_interval_it_is_null_with_a_reason_and_never_nan(first, second, mean, reason):
    found = paired(first, second)
    assert found.mean == (None if mean is None else pytest.approx(mean))
    assert (found.low, found.high, found.p) == (None, None, None)
    assert reason in found.reason
    assert found.outcome == "unknown"
    json.dumps(vars(found), allow_nan=False)


def test_identical_numbers_are_a_tie_and_not_unknown():
    found = paired({0: 0.7, 1: 0.8}, {0: 0.7, 1: 0.8})
    assert (found.mean, found.low, found.high, found.p, found.outcome) == (0.0, 0.0, 0.0, 1.0, "tie")


def test_holm_multiplies_the_smallest_p_most_and_keeps_the_order():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_numbers_are_worded_with_true_minus_signs_and_no_signed_zero():
    assert signed(-0.0714) == "−0.071"
    assert signed(0.0001) == signed(-0.0001) == "0.000"
    assert spread_text(spread([0.5, 0.7])) == "0.600\u00a0±\u00a00.141"
    assert interval_text(paired({0: 1.0}, {0: 0.5})) == "no interval"
    assert paired_text(None) == "–"
    assert several(["a", "b", "c"]) == "a, b and c"
