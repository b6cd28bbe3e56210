"""Every way the verdict can go, the ways of saying no above all."""

import dataclasses

import pytest

from ltaug.report.arms import Rivals, Scores
from ltaug.report.classes import ClassTable
from ltaug.report.statistics import paired
from ltaug.report.verdict import verdict

NOISE = (0.000, 0.004, -0.004, 0.002, -0.002)


def scores(means, *, synthetic=("syn",), partners=None, seeds=3, precision=None):
    """Arms whose macro recall is a mean plus a small shift a seed that differs between arms; precision likewise unless given."""

    def by_seed(i, mean):
        return {s: mean + NOISE[(s + 2 * i) % 5] for s in range(seeds)}

    values = {}
    for i, (arm, mean) in enumerate(means.items()):
        values[arm] = {"macro_recall": by_seed(i, mean), "macro_precision": by_seed(i, (precision or means)[arm])}
    return Scores(values, frozenset(synthetic), partners or {"syn": "real"}, "real")


def test_generators_on_the_same_terms_are_compared_with_each_other():
    made = scores({"real": 0.6, "syn": 0.8, "other": 0.7, "same": 0.801}, synthetic=("syn", "other", "same"))
    found = verdict(dataclasses.replace(made, rivals=(Rivals(("syn", "other"), True), Rivals(("syn", "same"), False))))
    assert "syn beats other" in text_of(found, "Which generator")
    assert "each sampled in its own way, same cannot be told apart from syn" in text_of(found, "Which generator")
    assert "Which generator?" not in {p.topic for p in verdict(made).points}


def text_of(found, topic):
    return " ".join(p.text for p in found.points if topic in p.topic)


def test_a_gain_that_a_cheaper_arm_matches_is_said_to_be_matched():
    found = verdict(scores({"real": 0.7, "cheap": 0.8, "syn": 0.8}))
    assert found.outcome == "helped"
    assert found.headline == "Synthetic images helped, but an arm without them does as well as far as these seeds can tell."
    assert "cheap cannot be told apart from syn" in text_of(found, "cheaper")
    assert "too close to call" in text_of(found, "Best with")


def test_a_gain_that_a_cheaper_arm_exceeds_is_said_to_be_exceeded():
    found = verdict(scores({"real": 0.7, "cheap": 0.9, "syn": 0.8}))
    assert found.headline == "Synthetic images helped, but the best arm without them is better still."
    assert "cheap beats syn" in text_of(found, "cheaper")


def test_a_gain_that_nothing_cheaper_reaches_is_said_plainly():
    found = verdict(scores({"real": 0.7, "cheap": 0.75, "syn": 0.9}))
    assert found.headline == "Synthetic images helped, and the best arm with them beats the best arm without them."
    assert "cheap falls short of syn" in text_of(found, "cheaper")


def test_a_gain_without_any_cheaper_arm_leaves_that_question_open():
    found = verdict(scores({"real": 0.7, "syn": 0.8}))
    assert found.headline == "Synthetic images helped; whether something cheaper does as well was not tried."
    assert text_of(found, "cheaper").startswith("Open")


def test_no_difference_is_a_tie_and_not_a_gain():
    found = verdict(scores({"real": 0.7, "syn": 0.702}))
    assert found.outcome == "tie"
    start = "Synthetic images made no difference that 3 seeds can prove (macro recall +0.001 [−0.007,"
    assert found.headline.startswith(start)
    assert "cannot be told apart from real" in text_of(found, "help?")


def test_harm_is_called_harm():
    found = verdict(scores({"real": 0.7, "cheap": 0.8, "syn": 0.6}))
    assert found.outcome == "hurt"
    assert found.headline == "Synthetic images hurt; the best arm without them is better."


def test_recall_up_and_precision_down_is_mixed():
    found = verdict(scores({"real": 0.7, "syn": 0.8}, precision={"real": 0.7, "syn": 0.6}))
    assert found.outcome == "mixed"
    assert "helped in one measure and hurt in another" in found.headline


def test_a_gain_in_one_measure_only_names_the_measure():
    found = verdict(scores({"real": 0.7, "cheap": 0.8, "syn": 0.8}, precision={"real": 0.7, "cheap": 0.7, "syn": 0.702}))
    assert found.headline.startswith("Synthetic images helped in macro recall, though not measurably in macro precision, but")


def test_one_seed_gives_no_verdict():
    found = verdict(scores({"real": 0.7, "cheap": 0.8, "syn": 0.9}, seeds=1))
    assert found.outcome == "unknown"
    assert found.headline.startswith("These runs cannot say whether synthetic images help")
    assert "one seed: no interval can be given" in text_of(found, "help?")
    assert "anecdote" in text_of(found, "How sure")


def test_few_seeds_are_warned_about_and_enough_are_not():
    three = text_of(verdict(scores({"real": 0.7, "syn": 0.9})), "How sure")
    assert "no result can have a p below 0.25" in three
    assert "wide" not in text_of(verdict(scores({"real": 0.7, "syn": 0.9}, seeds=5)), "How sure")


def test_the_seeds_of_the_baseline_alone_count_for_nothing():
    made = scores({"real": 0.7, "syn": 0.9}, seeds=5)
    shared = {metric: {seed: by_seed[seed] for seed in range(3)} for metric, by_seed in made.values["syn"].items()}
    found = verdict(dataclasses.replace(made, values={**made.values, "syn": shared}))
    assert text_of(found, "How sure").startswith("With 3 seeds the intervals are wide")
    alone = verdict(scores({"real": 0.7}, synthetic=(), partners={}, seeds=5))
    assert text_of(alone, "How sure") == ""


def test_an_arm_that_changes_more_than_the_images_is_not_credited_to_the_images():
    found = verdict(scores({"real": 0.7, "syn": 0.9}, partners={"other": "cheap"}))
    assert found.headline.startswith("Training with synthetic images and other changes helped")
    assert "not due to the images alone" in text_of(found, "help?")


def test_the_best_arm_with_the_baselines_training_stands_for_synthetic_images():
    means = {"real": 0.7, "cheap": 0.9, "ddpm": 0.75, "cbdm": 0.8, "both": 0.9}
    data = scores(means, synthetic=("ddpm", "cbdm", "both"), partners={"ddpm": "real", "cbdm": "real", "both": "cheap"})
    assert (data.featured, data.best_with, data.best_without) == ("cbdm", "both", "cheap")
    found = verdict(data)
    assert "On top of cheap, synthetic images (both) changed nothing measurable." in text_of(found, "add to better")
    assert text_of(found, "Best with") == ""  # said already: the same two arms


def test_without_synthetic_arms_the_report_says_so():
    found = verdict(scores({"real": 0.7, "cheap": 0.8}, synthetic=(), partners={}))
    assert found.outcome == "none"
    assert found.headline.startswith("No arm used synthetic images")
    assert text_of(found, "Best arm") == "cheap scored highest."


def test_a_baseline_with_synthetic_images_answers_nothing():
    found = verdict(scores({"real": 0.7, "syn": 0.8}, synthetic=("real", "syn"), partners={}))
    assert found.outcome == "none"
    assert "cannot say" in found.headline


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((-0.10, 0.1, 0.2), "Yes: class 'a' (9 real images) −0.100"),
        ((-0.001, 0.1, 0.2), "None beyond the noise. 1 of 1 are lower on average"),
        ((0.05, 0.1, 0.2), "No: none of the 1 head class"),
    ],
)
def test_the_head_class_is_looked_at_by_its_own_interval(changes, expected):
    change = tuple(paired({s: c + NOISE[s] for s in range(3)}, dict.fromkeys(range(3), 0.0)) for c in changes)
    classes = ClassTable(
        "class", ("a", "b", "c"), (9.0, 3.0, 1.0), ("many", "medium", "few"), {}, {}, {"recall": {"syn": change}}
    )
    found = verdict(scores({"real": 0.7, "syn": 0.8}), classes)
    assert text_of(found, "head class").startswith(expected)
    assert "Largest gain in recall: class 'c' (1 real image) +0.200" in text_of(found, "gained")


def test_many_arms_are_corrected_for_their_number():
    means = {"real": 0.7, "a": 0.9, "b": 0.702, "syn": 0.9}
    text = text_of(verdict(scores(means)), "Many comparisons")
    assert text == (
        "3 arms were compared with real; corrected for that (Holm), a difference in macro recall and macro precision "
        "stands for a and syn."
    )
