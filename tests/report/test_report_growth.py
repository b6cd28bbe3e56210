"""Rounds of `ltaug grow`: what they gained, when the loop ends, where the next images go, what a reader sees of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltaug.metrics.recognition import per_class
from ltaug.records import HELD_OUT_FILE
from ltaug.report.growth import Growth, Round, macro_recall, read_growth
from ltaug.report.statistics import paired
from ltaug.runs import open_run

NAMES = ("a", "b", "c")
AGAIN = {0: 0.50, 1: 0.52, 2: 0.54}  # macro recall by repetition


def a_round(number, confusion, *, gain=None, wanted=None, kept=None):
    change = None if gain is None else paired({r: v + gain * (1 + r / 10) for r, v in AGAIN.items()}, AGAIN)
    named = {name: dict(zip(NAMES, row, strict=True)) for name, row in zip(NAMES, confusion, strict=True)}
    return Round(number, wanted or {}, kept or wanted or {}, 0.5, change, named, 1.0)


SOME = [[8, 1, 0], [0, 4, 1], [2, 0, 0]]
PERFECT = [[8, 0, 0], [0, 4, 0], [0, 0, 0]]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_macro_recall_is_the_mean_over_the_classes_that_were_held_out(pairs):
    labels, predicted = np.array(pairs).T
    counts = np.zeros((3, 3))
    np.add.at(counts, (labels, predicted), 1)
    assert macro_recall(counts) == pytest.approx(np.array(per_class(labels, predicted, 3)["recall"])[np.unique(labels)].mean())


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 99)), min_size=3, max_size=3), st.integers(1, 999)
)
def test_the_next_budget_adds_its_images_to_those_before_by_the_smoothed_error(classes, images):
    wanted = {name: n for name, (_, _, n) in zip(NAMES, classes, strict=True)}
    right, wrong = (np.array(values) for values in list(zip(*classes, strict=True))[:2])
    found = Growth("g", (a_round(0, np.diag(right) + np.diag(wrong)[:, [1, 2, 0]], wanted=wanted),)).next_budget(images)
    added = np.array([found[name] - wanted[name] for name in NAMES])
    need = (wrong + 1) / (right + wrong + 2)
    assert added.sum() == images
    assert np.abs(added - images * need / need.sum()).max() < 1


def test_a_class_that_fell_short_gets_no_more_unless_all_did():
    wanted = dict.fromkeys(NAMES, 10)
    some = Growth("g", (a_round(1, SOME, wanted=wanted, kept=wanted | {"c": 4}),)).next_budget(30)
    assert some["c"] == 10
    assert sum(some.values()) == 60
    every = Growth("g", (a_round(1, SOME, wanted=wanted, kept=dict.fromkeys(NAMES, 4)),)).next_budget(30)
    assert every["c"] > 10


def test_the_loop_ends_at_the_first_round_that_is_not_shown_to_pay():
    rounds = (a_round(0, SOME), a_round(1, SOME, gain=0.1), a_round(2, SOME, gain=0.0))
    for n, best in ((1, 0), (2, 1)):
        grown = Growth("g", rounds[:n])
        assert (grown.ending, grown.best) == (None, best)
    assert "Stopped after 1 round, as many as were allowed" in grown.stopped
    grown = Growth("g", rounds)
    assert grown.best == 1
    assert grown.ending == "The images of round 2 are not shown to pay (0.000 [0.000,\u00a00.000]), so those of round 1 are used."
    harmful = Growth("g", (a_round(0, SOME), a_round(1, SOME, gain=-0.1)))
    assert harmful.best == 0
    assert harmful.ending.endswith(", so no synthetic images are used.")


def test_the_loop_ends_where_every_class_is_perfect():
    perfect = Growth("g", (a_round(0, PERFECT),))
    assert perfect.ending == (
        "Round 0 recognises every held-out training image, so there is nothing left to gain; no synthetic images are used."
    )
    assert perfect.best == 0


def test_the_costliest_confusions_are_the_largest_shares_of_a_class():
    assert a_round(0, SOME).misread == [(1.0, "c", "a"), (0.2, "b", "c"), (1 / 9, "a", "b")]


def fit(path, number, repeat, fold, labels, predicted):
    options = {"round": number, "repeat": repeat, "repeats": 2, "fold": fold, "folds": 2}
    spec = {"seed": 0, "options": options, "inputs": {"synthetic": None}, "versions": {}, "device": {}}
    with open_run(path / f"round-{number}/fit-{repeat}-{fold}", stage="cross-fit", label="f", **spec) as run:
        np.savez(run.path / HELD_OUT_FILE, labels=labels, predicted=predicted)
        run.note(class_names=NAMES, wanted={"a": number}, kept={"a": number})
        run.finish([HELD_OUT_FILE])


def test_a_round_is_read_from_all_its_fits_and_a_later_incomplete_one_is_left_out(tmp_path):
    for repeat in range(2):
        fit(tmp_path, 0, repeat, 0, [0, 1], [0, 0])
        fit(tmp_path, 0, repeat, 1, [0, 0, 1], [1, 0, 1])
        fit(tmp_path, 1, repeat, 0, [0, 1], [0, repeat])
        fit(tmp_path, 1, repeat, 1, [0, 0, 1], [0, 0, 1])
    fit(tmp_path, 2, 0, 0, [0, 1], [0, 1])
    (grown,) = read_growth([tmp_path])
    assert [r.number for r in grown.rounds] == [0, 1]
    before, after = grown.rounds
    assert before.recall == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert after.recall == pytest.approx((1 + 3 / 4) / 2)
    assert after.gain.mean == pytest.approx(after.recall - before.recall)
    assert (after.gain.wins, after.gain.losses) == (2, 0)
    assert before.confusion["a"] == {"a": 2, "b": 1, "c": 0}
    assert after.confusion["b"] == {"a": 0.5, "b": 1.5, "c": 0}
    head, rows = grown.table
    assert rows[1][:3] == ["1", "1 of 1", "a (1)"]
    assert len(head) == len(rows[0])
