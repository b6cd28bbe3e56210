"""Every way the verdict can go, in words; the ways of saying no above all."""

import dataclasses

import pytest

from ltaug.report.arms import Rivals, Scores
from ltaug.report.cost import Cost
from ltaug.report.gates import Gate
from ltaug.report.statistics import paired
from ltaug.report.verdict import verdict

NOISE = (0.000, 0.004, -0.004, 0.002, -0.002)


MEANS = {"real": 0.7, "cheap": 0.712, "syn": 0.7}


def scores(means, *, synthetic=("syn",), partners=None, controls=None, seeds=5, precision=None, groups=None):
    """Arms whose macro recall is a mean plus a small shift a seed that differs between arms; precision likewise unless given."""

    def by_seed(i, mean):
        return {s: mean + NOISE[(s + 2 * i) % 5] for s in range(seeds)}

    values = {}
    for i, (arm, mean) in enumerate(means.items()):
        values[arm] = {"macro_recall": by_seed(i, mean), "macro_precision": by_seed(i, (precision or means)[arm])}
        values[arm] |= {metric: by_seed(i, by_arm[arm]) for metric, by_arm in (groups or {}).items()}
    partners = partners if partners is not None else dict.fromkeys(synthetic, "real")
    return Scores(values, frozenset(synthetic), partners, "real", controls=controls or {})


def text_of(found, topic):
    return " ".join(p.text for p in found.points if topic in p.topic)


def test_images_that_beat_every_arm_without_them_are_recommended():
    found = verdict(scores({"real": 0.7, "cheap": 0.75, "syn": 0.9}))
    assert found.outcome == "helped"
    assert found.headline.startswith("Synthetic images help: syn gains +0.200 [")
    assert "macro recall and +0.200 [" in found.headline
    assert found.headline.endswith(", and syn beats every arm without them.")
    assert (found.recommendation.action, found.recommendation.arm, found.decided) == ("use", "syn", True)


def test_a_gain_that_a_cheaper_arm_matches_is_no_reason_to_synthesize():
    calm = scores({"real": 0.7, "cheap": 0.8, "other": 0.79, "third": 0.78, "syn": 0.801})
    found = verdict(calm)
    assert found.outcome == "helped"
    assert "cheap, without them, does as well as the best arm with them" in found.headline
    assert found.recommendation.action == "without"
    assert found.recommendation.text == "Do not synthesize: use cheap, which does as well as syn."
    assert found.decided


def test_a_cheaper_arm_that_beats_all_is_recommended_with_its_price():
    costs = {"syn": Cost(20.0, "processor", {}), "cheap": Cost(1.0, "processor", {})}
    found = verdict(scores({"real": 0.7, "cheap": 0.9, "syn": 0.8}), costs=costs)
    assert "cheap, without them, beats every arm with them" in found.headline
    assert (
        found.recommendation.text
        == "Do not synthesize: use cheap, which is better than syn. syn takes 20 times the computing of cheap."
    )


def test_a_gain_of_class_balance_is_not_credited_to_the_images():
    found = verdict(scores({"real": 0.7, "resampled": 0.8, "syn": 0.8}, controls={"syn": "resampled"}))
    assert found.outcome == "balance"
    assert found.headline.startswith("Synthetic images are not shown to help beyond class balance: syn gains +0.100")
    assert found.recommendation.action != "use"


def test_the_best_arm_without_is_named_also_where_it_is_the_control_of_another_training():
    means = {"real": 0.7, "resampled": 0.7, "resampled-both": 0.8, "syn": 0.801, "both": 0.8}
    controls = {"syn": "resampled", "both": "resampled-both"}
    found = verdict(scores(means, synthetic=("syn", "both"), partners={"syn": "real"}, controls=controls))
    assert found.outcome == "helped"
    assert "resampled-both, without them, does as well as the best arm with them" in found.headline


def test_harm_is_called_harm():
    found = verdict(scores({"real": 0.7, "syn": 0.6}))
    assert found.outcome == "hurt"
    assert found.headline.startswith("Synthetic images hurt: syn changes −0.100")
    assert found.recommendation.text == "Do not synthesize: use real, which is better than syn."


def test_what_lies_inside_the_margin_makes_no_difference():
    found = verdict(scores({"real": 0.7, "syn": 0.701}))
    assert found.outcome == "equivalent"
    assert found.headline.startswith("Synthetic images make no difference of 0.02 or more (syn against real: +0.001")


def wild(means, sd, seeds=5):
    made = scores(means, seeds=seeds)
    values = {
        arm: {m: {s: v + sd * (-1) ** (s + i) * (1 + s / 5) for s, v in by.items()} for m, by in metrics.items()}
        for i, (arm, metrics) in enumerate(made.values.items())
    }
    return dataclasses.replace(made, values=values)


def test_what_the_seeds_leave_open_says_what_they_could_have_shown_and_what_it_takes():
    found = verdict(wild({"real": 0.7, "syn": 0.71}, 0.01), seed_cost=Cost(3.0, "processor", {}))
    assert found.outcome == "undecided"
    assert found.headline.startswith("Whether synthetic images help is undecided (syn against real: +0.004 [")
    assert "5 seeds show a gain of 0.0" in found.headline
    assert not found.decided
    more = found.seeds_needed - 5
    assert found.recommendation.text.startswith(
        f"Run {more} more seeds ({found.seeds_needed} in all, about {3 * more:.1f}\u00a0processor\u00a0min"
    )


def test_more_seeds_than_are_practical_are_not_advised():
    found = verdict(wild({"real": 0.7, "syn": 0.71}, 0.08))
    assert found.seeds_needed > 20
    assert found.recommendation.action == "without"
    assert f"about {found.seeds_needed} seeds" in found.recommendation.text


def test_three_seeds_are_promising_at_most():
    found = verdict(scores({"real": 0.7, "syn": 0.9}, seeds=3))
    assert found.outcome == "promising"
    assert found.headline.startswith("Synthetic images look promising")
    assert found.recommendation.text.startswith("Run 2 more seeds (5 in all")
    assert "nothing is claimed" in text_of(found, "How sure")


@pytest.mark.parametrize(("seeds", "spread", "more", "all_in_all"), [(5, 0.011, 5, 10), (10, 0.025, 10, 20)])
def test_more_seeds_are_advised_up_to_the_next_look(seeds, spread, more, all_in_all):
    values = {arm: [v + spread * (i % 3 - 1) * (arm == "syn") for i, v in enumerate(10 * [m])] for arm, m in MEANS.items()}
    table = {arm: {"macro_recall": dict(enumerate(v[:seeds]))} for arm, v in values.items()}
    found = verdict(Scores(table, frozenset(["syn"]), {"syn": "real"}, "real"))
    assert (found.recommendation.action, found.seeds_needed) == ("more", all_in_all)
    assert found.recommendation.text.startswith(f"Run {more} more seeds ({all_in_all} in all")


def test_one_seed_gives_no_verdict():
    found = verdict(scores({"real": 0.7, "cheap": 0.8, "syn": 0.9}, seeds=1))
    assert found.outcome == "undecided"
    assert found.headline == "Whether synthetic images help cannot be told from 1 seed (syn against real: +0.198 macro recall)."
    assert (found.recommendation.action, found.recommendation.seeds, found.decided) == ("more", 4, False)


def test_one_draw_and_one_generator_are_said():
    made = dataclasses.replace(scores({"real": 0.7, "syn": 0.9}), fixed_draw=True)
    assert verdict(made).headline.startswith("For this draw and generator, synthetic images help")


def test_precision_comes_first_where_it_is_asked_for():
    made = scores({"real": 0.7, "syn": 0.7}, precision={"real": 0.7, "syn": 0.9})
    assert verdict(made).outcome == "equivalent"
    found = verdict(dataclasses.replace(made, primary="macro_precision"))
    assert found.outcome == "helped"
    assert "macro precision" in found.headline
    assert "macro recall" not in found.headline


def test_an_arm_that_changes_more_than_the_images_is_not_credited_to_the_images():
    found = verdict(scores({"real": 0.7, "cheap": 0.75, "syn": 0.9}, partners={}))
    assert found.headline.startswith("No two arms differ in their synthetic images alone")
    assert found.recommendation.action == "use"


def test_what_images_add_to_better_training_is_told_apart():
    means = {"real": 0.7, "cheap": 0.8, "cbdm": 0.85, "both": 0.9}
    made = scores(means, synthetic=("cbdm", "both"), partners={"cbdm": "real", "both": "cheap"})
    assert (made.featured, made.best_with, made.best_without) == ("cbdm", "both", "cheap")
    assert "Synthetic images (both) add to cheap." in text_of(verdict(made), "add to better")


def test_what_is_featured_is_the_best_of_all_that_images_are_judged_by():
    means = {"real": 0.7, "cheap": 0.8, "resampled": 0.79, "plain": 0.7, "taught": 0.79}
    made = scores(means, synthetic=("plain", "taught"), partners={"plain": "real"}, controls={"taught": "resampled"})
    assert (made.judged, made.featured) == (("plain", "taught"), "taught")
    assert "taught against resampled" in verdict(made).headline
    assert "cheap, without them, beats" in verdict(made).headline  # which the sentence before has not named


def test_generators_on_the_same_terms_are_compared_with_each_other():
    made = scores({"real": 0.6, "syn": 0.8, "other": 0.7, "same": 0.801}, synthetic=("syn", "other", "same"))
    found = verdict(dataclasses.replace(made, rivals=(Rivals(("syn", "other"), True), Rivals(("syn", "same"), False))))
    assert "syn beats other" in text_of(found, "Which generator")
    assert "each sampled in its own way, same does as well as syn" in text_of(found, "Which generator")
    assert "Which generator?" not in {p.topic for p in verdict(made).points}


def test_a_group_that_loses_recall_stands_in_the_headline_with_its_classes():
    groups = {"recall/many": {"real": 0.9, "syn": 0.9}, "recall/few": {"real": 0.6, "syn": 0.4}}
    down = paired({s: -0.3 + n for s, n in enumerate(NOISE)}, dict.fromkeys(range(5), 0.0))
    even = paired(dict(enumerate(NOISE)), dict.fromkeys(range(5), 0.0))
    found = verdict(scores({"real": 0.7, "syn": 0.7}, groups=groups), {"syn": {"rank 1": even, "rank 9": down}})
    assert found.headline.endswith("; few-shot recall falls by 0.200.")
    assert text_of(found, "Who pays") == (
        "Many-shot recall of syn does not fall by 0.02 or more against real. Few-shot recall of syn falls against real. "
        "By single classes (Holm), recall falls for rank 9."
    )
    kept = verdict(scores({"real": 0.7, "syn": 0.7}), {"syn": {"rank 9": down}})
    assert "rank 9" not in text_of(kept, "Who pays")  # no group has lost


def test_leaked_test_images_leave_no_verdict():
    found = verdict(
        scores({"real": 0.7, "syn": 0.99}), gates=[Gate("leak", "stop", "12 of 100 images of syn are test images.", ())]
    )
    assert found.outcome == "none"
    assert found.headline == "No verdict: 12 of 100 images of syn are test images."
    assert not found.points


def test_copies_are_said_in_the_headline():
    gate = Gate("copies", "warn", "30 % of the images of syn copy a training image.", ("syn",))
    assert verdict(scores({"real": 0.7, "syn": 0.9}), gates=[gate]).headline.endswith(f"without them. {gate.text}")


def test_without_synthetic_arms_the_report_says_so():
    found = verdict(scores({"real": 0.7, "cheap": 0.8}, synthetic=()))
    assert (found.outcome, found.recommendation.action, found.decided) == ("none", "none", True)
    assert found.headline.startswith("No arm used synthetic images")


def test_a_baseline_with_synthetic_images_answers_nothing():
    found = verdict(scores({"real": 0.7, "syn": 0.8}, synthetic=("real", "syn"), partners={}))
    assert found.outcome == "none"
    assert "cannot say" in found.headline


def test_arms_without_a_shared_seed_are_not_compared():
    values = {"real": {"macro_recall": {0: 0.5, 1: 0.5}}, "syn": {"macro_recall": {2: 0.9, 3: 0.9}}}
    found = verdict(Scores(values, frozenset(["syn"]), {"syn": "real"}, "real"))
    assert found.outcome == "undecided"
    assert found.headline == "Whether synthetic images help cannot be told, as syn and real share no seed."


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_equal_numbers_everywhere_are_no_gain(seeds):
    values = {arm: {"macro_recall": dict.fromkeys(range(seeds), 0.5)} for arm in ("real", "resampled", "syn")}
    found = verdict(Scores(values, frozenset(["syn"]), {"syn": "real"}, "real", controls={"syn": "resampled"}))
    assert found.outcome == ("undecided" if seeds == 3 else "equivalent")
