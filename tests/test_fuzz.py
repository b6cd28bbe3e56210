"""No input ends in a traceback; the whole is `python benchmarks/faults.py fuzz`."""

from __future__ import annotations

import pytest
from flipping import make_experiment
from fuzzing import CODES, GOOD, KINDS, TURNS, Fuzzed, fuzz, outcome_of

from ltaug import errors

pytestmark = pytest.mark.slow


def test_every_input_of_every_kind_ends_in_a_result_or_in_a_sentence_with_an_exit_code_that_the_help_explains(tmp_path):
    make_experiment(tmp_path / "made")
    seen: list[Fuzzed] = list(fuzz(tmp_path / "fuzz", tmp_path / "made", 2 * len(TURNS), seed=0))
    assert {one.kind for one in seen} == set(KINDS)
    assert [one for one in seen if one.outcome not in GOOD] == []
    assert {one.outcome for one in seen} == set(GOOD)


def test_the_help_explains_the_exit_code_of_every_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LtaugError)]
    assert {kind.exit_code for kind in kinds if hasattr(kind, "exit_code")} | {0, errors.INTERRUPTED} == CODES


@pytest.mark.parametrize(
    ("code", "out", "err", "as_json", "outcome"),
    [
        (0, "{}", "", True, "done"),
        (3, "", "Error: a sentence that names it; and a remedy\n", False, "refused"),
        (1, "", "Traceback (most recent call last):\nKeyError: 'x'\n", False, "traceback"),
        (11, "", "Error: a sentence that names it\n", False, "exit code"),
        (-9, "", "", False, "exit code"),
        (0, '{"a": NaN}', "", True, "not one JSON object"),
        (0, "{}\n{}", "", True, "not one JSON object"),
        (1, "", "Error: [Errno 36] File name too long: 'x'\n", False, "no sentence"),
        (2, "", "", False, "no message"),
    ],
)
def test_what_is_wrong_with_an_outcome_is_found(code, out, err, as_json, outcome):
    assert outcome_of(code, out, err, as_json=as_json).partition(":")[0].startswith(outcome)
