"""The decision rule: which claims stand, at which level, and how the spread is estimated."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ltaug.report.arms import Rivals, Scores
from ltaug.report.decision import LEVEL, MARGIN, Evidence, decide
from ltaug.report.statistics import dunnett_quantile, t_quantile

METRIC = "macro_recall"


def scores(values, *, synthetic=("syn",), partners=None, controls=None, precision=None, rivals=()):
    """Arms with recall by seed, and precision equal to it unless given."""
    table = {
        arm: {METRIC: dict(enumerate(v)), "macro_precision": dict(enumerate((precision or values)[arm]))}
        for arm, v in values.items()
    }
    return Scores(table, frozenset(synthetic), partners or dict.fromkeys(synthetic, "real"), "real", rivals, controls or {})


def noisy(means, *, seeds=5, sd=0.01, seed=0):
    rng = np.random.default_rng(seed)
    return {arm: (mean + rng.normal(0, sd, seeds)).tolist() for arm, mean in means.items()}


def test_against_the_baseline_the_interval_is_the_paired_t_interval():
    values = noisy({"real": 0.7, "a": 0.75, "b": 0.8, "syn": 0.9})
    found = Evidence(scores(values), METRIC).compare("syn", "real", 0.01, k=2)
    d = np.subtract(values["syn"], values["real"])
    low, high = stats.ttest_1samp(d, 0).confidence_interval(1 - 2 * 0.01 / 2)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.mean == pytest.approx(d.mean())


def residual_variance(values, arms):
    x = np.array([values[arm] for arm in arms])
    left = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    return (left**2).sum() / ((len(arms) - 1) * (x.shape[1] - 1))


@pytest.mark.parametrize("wide", [False, True])
def test_between_other_arms_the_spread_is_pooled_and_never_below_the_pairs_own(wide):
    values = noisy({"real": 0.7, "a": 0.7, "b": 0.7, "c": 0.7, "syn": 0.7})
    if wide:
        values["syn"] = [v + 0.2 * (-1) ** i for i, v in enumerate(values["syn"])]
    else:
        values["syn"] = [v + 0.001 * (-1) ** i for i, v in enumerate(values["a"])]
    found = Evidence(scores(values), METRIC).compare("syn", "a", 0.02, k=3)
    pooled = 2 * residual_variance(values, ["a", "b", "c", "syn"])
    own = np.subtract(values["syn"], values["a"]).var(ddof=1)
    assert (own > pooled) == wide
    variance, df = (own, 8) if wide else (pooled, 12)
    half = dunnett_quantile(0.02, df, 3) * math.sqrt(variance / 5)
    assert found.high - found.low == pytest.approx(2 * half)
    assert found.detectable == pytest.approx((t_quantile(0.025, df) + t_quantile(0.2, df)) * math.sqrt(variance / 5))
    assert found.seeds_needed == math.ceil(7.85 * variance / MARGIN**2)


def test_the_noise_of_the_baseline_is_no_part_of_the_pooled_spread():
    values = noisy({"real": 0.7, "a": 0.7, "b": 0.7, "syn": 0.7})
    calm = Evidence(scores(values), METRIC).compare("syn", "a", 0.02)
    wild = Evidence(scores({**values, "real": [0.1, 0.9, 0.1, 0.9, 0.5]}), METRIC).compare("syn", "a", 0.02)
    assert calm == wild


def test_arms_that_are_trained_as_the_baseline_is_lend_their_noise_to_each_other_alone():
    calm = noisy(dict.fromkeys(["real", "cheap", "control", "taught"], 0.7))
    wild = {arm: [0.1, 0.9, 0.2, 0.8, seed] for arm, seed in (("resampled", 0.1), ("syn", 0.6), ("more", 0.9))}
    alike = {"partners": {"syn": "real", "more": "real"}, "controls": {"syn": "resampled", "taught": "control"}}
    values = calm | wild

    def spread(arm, other):
        return (
            Evidence(scores(values, synthetic=("syn", "more", "taught"), **alike), METRIC).compare(arm, other, 0.02).seeds_needed
        )

    def needed(arms, arm, other):
        own = np.subtract(values[arm], values[other]).var(ddof=1)
        return math.ceil(7.85 * max(own, 2 * residual_variance(values, arms)) / MARGIN**2)

    assert spread("taught", "control") == needed(["cheap", "control", "taught"], "taught", "control")
    assert spread("syn", "resampled") == needed(["resampled", "syn", "more"], "syn", "resampled")
    assert spread("syn", "cheap") == needed([arm for arm in values if arm != "real"], "syn", "cheap")


def test_only_seeds_that_all_arms_have_are_pooled():
    values = noisy({"real": 0.7, "a": 0.7, "b": 0.7, "syn": 0.7}, seeds=6)
    short = {arm: v[: 5 if arm == "b" else 6] for arm, v in values.items()}
    found = Evidence(scores(short), METRIC).compare("syn", "a", 0.02)
    pooled = 2 * residual_variance({arm: v[:5] for arm, v in values.items()}, ["a", "b", "syn"])
    own = np.subtract(values["syn"], values["a"]).var(ddof=1)
    assert found.n == 6
    assert found.seeds_needed == math.ceil(7.85 * max(pooled, own) / MARGIN**2)


@pytest.mark.parametrize(("mean", "outcome"), [(0.2, "better"), (-0.2, "worse"), (0.001, "equivalent"), (0.019, "undecided")])
def test_outcomes_are_read_off_the_interval_and_the_margin(mean, outcome):
    d = [0.002, -0.002, 0.003, -0.003, 0.0]
    values = {"real": [0.5] * 5, "syn": [0.5 + mean + x * (12 if outcome == "undecided" else 1) for x in d]}
    assert Evidence(scores(values), METRIC).compare("syn", "real", LEVEL).outcome == outcome


def test_three_seeds_are_promising_at_most():
    values = {"real": [0.5, 0.51, 0.49], "syn": [0.7, 0.72, 0.69]}
    assert Evidence(scores(values), METRIC).compare("syn", "real", LEVEL).outcome == "promising"
    assert Evidence(scores(values), METRIC).compare("real", "syn", LEVEL).outcome == "undecided"


@pytest.mark.parametrize(("difference", "seeds", "outcome"), [
    (0.0, 5, "equivalent"), (0.0, 3, "undecided"), (0.1, 5, "undecided"), (0.1, 10, "better"), (-0.1, 10, "worse"),
])  # fmt: skip
def test_equal_differences_are_told_by_their_signs_alone(difference, seeds, outcome):
    values = {"real": [0.5] * seeds, "syn": [0.5 + difference] * seeds}
    assert Evidence(scores(values), METRIC).compare("syn", "real", LEVEL).outcome == outcome


def test_one_seed_or_none_has_no_interval():
    one = Evidence(scores({"real": [0.5], "syn": [0.7]}), METRIC).compare("syn", "real", LEVEL)
    assert (one.mean, one.n, one.low, one.outcome) == (pytest.approx(0.2), 1, None, "unknown")
    apart = Scores({"real": {METRIC: {0: 0.5}}, "syn": {METRIC: {1: 0.7}}}, frozenset(["syn"]), {"syn": "real"}, "real")
    none = Evidence(apart, METRIC).compare("syn", "real", LEVEL)
    assert (none.mean, none.n, none.outcome) == (None, 0, "unknown")


def test_a_gain_counts_only_where_it_exceeds_the_control_too():
    values = noisy({"real": 0.7, "resampled": 0.8, "syn": 0.8}, sd=0.004)
    controlled = decide(scores(values, controls={"syn": "resampled"}))
    assert not controlled.helped
    assert controlled.gains[0].over_partner.better
    assert decide(scores(values)).helped


def test_an_arm_without_a_partner_is_judged_by_its_control_beside_those_that_differ_from_the_baseline_in_images_alone():
    values = noisy({"real": 0.7, "cheap": 0.75, "resampled": 0.76, "plain": 0.7, "taught": 0.85})
    made = scores(values, synthetic=("plain", "taught"), partners={"plain": "real"}, controls={"taught": "resampled"})
    found = decide(made)
    assert [(gain.over_partner.arm, gain.over_partner.other, gain.over_control) for gain in found.gains] == [
        ("plain", "real", None),
        ("taught", "resampled", None),
    ]
    assert [gain.over_partner.arm for gain in found.helped] == ["taught"]
    assert found.winner == "taught"
    assert found.added == ()


def test_as_well_as_the_best_of_several_takes_more_than_as_well_as_one():
    found = Evidence(scores(noisy({"real": 0.5, "cheap": 0.8, "syn": 0.803}, sd=0.005)), METRIC)
    outcomes = {n: found.compare("syn", "cheap", LEVEL, chosen_from=n).outcome for n in (1, 40)}
    assert outcomes == {1: "equivalent", 40: "undecided"}


def test_precision_is_claimed_only_where_recall_is():
    up, same = noisy({"real": 0.7, "syn": 0.8}), noisy({"real": 0.7, "syn": 0.7})
    assert decide(scores(up, precision=up)).gains[0].second is not None
    assert decide(scores(up, precision=same)).gains[0].second is None
    assert decide(scores(same, precision=up)).gains[0].second is None


def test_the_winner_is_better_than_every_arm_without_and_only_after_synthesis_helps():
    means = {"real": 0.6, "a": 0.7, "b": 0.75, "syn": 0.85}
    assert decide(scores(noisy(means))).winner == "syn"
    assert decide(scores(noisy(means | {"b": 0.85}))).winner is None
    wild = noisy(means) | {"real": [0.1, 0.9, 0.3, 0.95, 0.2]}
    found = decide(scores(wild))
    assert not found.helped
    assert found.winner is None


def test_a_cheap_arm_that_beats_all_is_claimed_without_any_other_claim():
    found = decide(scores(noisy({"real": 0.6, "a": 0.9, "b": 0.7, "syn": 0.6, "other": 0.7}), synthetic=("syn", "other")))
    assert found.cheaper == "a"
    assert not found.hurt


def test_synthetic_images_hurt_where_real_ones_alone_beat_them():
    found = decide(scores(noisy({"real": 0.9, "syn": 0.3})))
    assert found.cheaper == "real"
    assert [gain.over_partner.arm for gain in found.hurt] == ["syn"]


def test_generators_are_compared_once_synthesis_helps():
    rivals = (Rivals(("syn", "other", "third"), True),)
    kwargs = {"synthetic": ("syn", "other", "third"), "rivals": rivals}
    helped = decide(scores(noisy({"real": 0.6, "syn": 0.9, "other": 0.8, "third": 0.8}), **kwargs))
    assert {(one.arm, one.other, one.outcome) for one, _ in helped.rivals} == {("syn", o, "better") for o in ("other", "third")}
    assert not decide(scores(noisy({"real": 0.9, "syn": 0.9, "other": 0.8, "third": 0.8}), **kwargs)).rivals


def test_dunnetts_quantiles_are_those_of_the_tables():
    # Dunnett 1955, table 1a and 1b (one-sided, joint level 95 % and 99 %).
    for (tail, df, k), value in {(0.05, 20, 3): 2.19, (0.05, 20, 5): 2.39, (0.05, 10, 2): 2.15, (0.01, 30, 4): 2.97}.items():
        assert dunnett_quantile(tail, df, k) == pytest.approx(value, abs=0.006)
    for df, k in itertools.product((4, 40), (2, 9)):
        assert t_quantile(0.02, df) < dunnett_quantile(0.02, df, k) < t_quantile(0.02 / k, df)


def test_equal_arms_are_rarely_claimed_to_differ():
    """An exact bound cannot be tested in seconds; a broken correction (a rate of .2 and more) can."""
    wrong = 0
    for seed in range(150):
        values = noisy({f"{kind}{i}": 0.7 for kind in ("cheap", "g") for i in range(5)} | {"real": 0.7}, seed=seed, sd=0.02)
        generated = tuple(arm for arm in values if arm.startswith("g"))
        found = decide(scores(values, synthetic=generated, rivals=(Rivals(generated, True),)))
        wrong += bool(found.helped or found.winner or found.cheaper or found.hurt)
    assert wrong <= 10
