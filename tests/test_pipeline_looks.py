"""`ltaug run RECIPE --until-decided`: when it looks, what it does again, when it stops, and what it says."""

from __future__ import annotations

import json
import re
import time

import fake_stages
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltaug import pipeline
from ltaug.errors import OptionError, RunExistsError
from ltaug.looks import ending, looks
from ltaug.machine import Machine
from ltaug.pipeline import claim, run_until_decided
from ltaug.recipes import Arm, Recipe

OPEN = [False, None]
DECIDED = [True, None]


@pytest.mark.parametrize(
    ("max_seeds", "found"),
    [
        (3, (3,)),
        (4, (3, 4)),
        (5, (3, 5)),
        (9, (3, 5, 9)),
        (10, (3, 5, 10)),
        (11, (3, 5, 10, 11)),
        (70, (3, 5, 10, 70)),
    ],
)
def test_looks_are_at_3_5_10_and_at_the_limit(max_seeds, found):
    assert looks(max_seeds) == found


@pytest.mark.parametrize("max_seeds", [2, 1, 0, -1])
def test_fewer_seeds_than_the_first_look_takes_are_refused(max_seeds):
    with pytest.raises(OptionError, match=f"--max-seeds {max_seeds} must be at least 3, as many as the first look takes"):
        looks(max_seeds)


@given(max_seeds=st.integers(3, 500), needed=st.none() | st.integers(1, 600), decided=st.booleans())
def test_the_last_look_always_ends_and_an_earlier_one_only_for_a_reason(max_seeds, needed, decided):
    *earlier, last = looks(max_seeds)
    assert last == max_seeds
    assert ending(last, max_seeds, decided=decided, needed=needed) is not None
    for seeds in earlier:
        ends = ending(seeds, max_seeds, decided=decided, needed=needed) is not None
        assert ends == (decided or (needed or 0) > max_seeds)


def recipe(verdicts: dict[int, list]) -> Recipe:
    """Two arms without synthesis; the fake report reads the verdicts from its title."""
    arms = tuple(Arm(name=name, about="", tables={}) for name in ("real", "other"))
    about = json.dumps(verdicts)
    return Recipe(name="mine", about=about, seeds=1, baseline="real", dataset={"dataset": "digits"}, tables={}, arms=arms)


@pytest.fixture
def run(tmp_path):
    """Run the fake stages below tmp_path/out until decided: the last report, what was said and how many were trained anew."""

    def started(verdicts, **how):
        heard, log = [], tmp_path / "out" / "log.jsonl"
        before = len(log.read_text().splitlines()) if log.exists() else 0
        how = {"out": tmp_path / "out", "machine": Machine(device="cpu"), "workers": 2, "module": "fake_stages"} | how
        made = run_until_decided(recipe(verdicts), listener=heard.append, **how)
        said = [event.text for event in heard if not event.run and event.total is None]
        return made, said, len(log.read_text().splitlines()) - before

    return started


def without_figures(said: list[str]) -> list[str]:
    return [re.sub(r"\d+\.\d", "X", text) for text in said]


TOOK = "(this look took X min, X processor minutes)."


def test_seeds_are_added_until_the_verdict_is_decided(run, tmp_path):
    made, said, trained = run({3: OPEN, 5: DECIDED})
    assert (made.seeds, trained) == (5, 10)
    assert without_figures(said) == [
        f"Look 1, at 3 seeds: 3 seeds say this {TOOK}",
        f"Look 2, at 5 seeds: 5 seeds say this {TOOK}",
        "Decided after 5 seeds.",
    ]
    assert sorted(path.name for path in (tmp_path / "out").glob("seed-*")) == [f"seed-{seed}" for seed in range(5)]


def test_an_undecided_verdict_ends_at_the_limit(run):
    made, said, trained = run({3: OPEN, 4: [False, 4]}, max_seeds=4)
    assert (made.seeds, trained) == (4, 8)
    assert said[-1] == "Not decided within 4 seeds."


def test_what_would_need_more_seeds_than_allowed_ends_at_once(run):
    made, said, trained = run({3: [False, 37]})
    assert (made.seeds, trained) == (3, 6)
    assert len(said) == 2
    assert said[-1] == "This cannot be decided within 10 seeds: about 37 would be needed."
    made, said, trained = run({3: [False, 5], 5: DECIDED})
    assert (made.seeds, trained) == (5, 4), "seeds within reach are added, and what is done stays done"


def test_run_again_it_looks_again_and_computes_nothing(run):
    first, said, _ = run({3: OPEN, 5: DECIDED})
    again, repeated, trained = run({3: OPEN, 5: DECIDED})
    assert (again, trained) == (first, 0)
    assert without_figures(repeated) == without_figures(said)
    assert all(
        re.search(r"at \d seeds: .* \(this look took \d+\.\d min, \d+\.\d processor minutes\)\.$", t) for t in repeated[:-1]
    )


def test_seeds_count_from_the_first_one(run, tmp_path):
    made, _, _ = run({3: DECIDED}, first_seed=7)
    assert made.seeds == 3
    assert sorted(path.name for path in (tmp_path / "out").glob("seed-*")) == ["seed-7", "seed-8", "seed-9"]


def test_nobody_else_may_write_between_two_looks(tmp_path):
    refused = []

    def between(event):
        if event.text.startswith("Look 1"):
            with pytest.raises(RunExistsError, match="is being written by another process"), claim(tmp_path / "out", "run"):
                pass
            refused.append(event.text)

    how = {"machine": Machine(device="cpu"), "workers": 1, "module": "fake_stages"}
    run_until_decided(recipe({3: OPEN, 5: DECIDED}), out=tmp_path / "out", listener=between, **how)
    assert len(refused) == 1


def test_the_processor_time_of_a_look_is_that_of_its_workers_too(run):
    both, own = pipeline._processor(), time.process_time()
    _, _, trained = run({3: DECIDED})
    assert pipeline._processor() - both - (time.process_time() - own) >= 0.9 * trained * fake_stages.TRAINING


def test_too_few_seeds_or_workers_are_refused_before_anything_is_made(run, tmp_path):
    with pytest.raises(OptionError, match="--max-seeds 2 must be at least 3"):
        run({}, max_seeds=2)
    with pytest.raises(OptionError, match="--workers 0 must be at least 1"):
        run({}, workers=0)
    assert list(tmp_path.iterdir()) == []
