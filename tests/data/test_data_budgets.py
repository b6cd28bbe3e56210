"""A budget is one dict over every class, whatever form it was written in; nonsense is refused in one sentence."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ltaug.data.budgets import check_budget, fill_evenly, parse_budget, whole
from ltaug.errors import BudgetError, OptionError
from ltaug.fields import plain, resolve
from ltaug.methods import FORMS, budget_forms
from ltaug.options import SynthesisOptions
from ltaug.registry import Entry

NAMES = ("cat", "dog", "emu")
COUNTS = (50, 7, 1)
counts_lists = st.lists(st.integers(0, 500), min_size=1, max_size=12)


def parsed(text, names=NAMES, counts=COUNTS):
    return parse_budget(str(text), class_names=names, class_counts=counts)


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("500", (500, 500, 500)),
        (" 007 ", (7, 7, 7)),
        ("fill:10", (0, 3, 9)),
        ("fill:max", (0, 43, 49)),
        ("fill:6x", (0, 35, 5)),
        ("fill:2.5x", (0, 10, 1)),
        ("fill:1000x", (0, 43, 49)),
        ("cap:45", (0, 43, 45)),
        ("cap:10", (0, 10, 10)),
        ("cap:1000", (0, 43, 49)),
        ("total:5", (0, 0, 5)),
        ("total:8", (0, 1, 7)),
        ("total:9", (0, 1, 8)),
        ("total:94", (0, 44, 50)),
    ],
)
def test_every_form_gives_its_budget(text, amounts):
    assert parsed(text) == dict(zip(NAMES, amounts, strict=True))


@given(counts_lists, st.integers(0, 5000))
def test_total_is_spent_exactly_and_levels_the_tail(counts, total):
    shares = fill_evenly(counts, total)
    assert sum(shares) == total
    filled = [n + s for n, s in zip(counts, shares, strict=True)]
    raised = [f for f, s in zip(filled, shares, strict=True) if s]
    # No class that was given anything stands more than one image above any other class.
    assert all(level <= min(filled) + 1 for level in raised)


@given(counts_lists, st.integers(1, 5000))
def test_a_larger_total_never_takes_from_a_class(counts, total):
    assert all(a <= b for a, b in zip(fill_evenly(counts, total), fill_evenly(counts, total + 1), strict=True))


@given(counts_lists, st.integers(0, 600))
def test_fill_brings_every_class_to_the_level_and_takes_none(counts, level):
    assume(min(counts) < level)
    names = [f"c{i}" for i in range(len(counts))]
    budget = parsed(f"fill:{level}", names, counts)
    assert list(budget) == names
    assert [max(n, level) for n in counts] == [n + budget[name] for n, name in zip(counts, names, strict=True)]


@given(counts_lists, st.integers(101, 2000))
def test_a_multiple_is_the_most_that_stays_within_it_and_the_largest_class(counts, hundredths):
    names = [f"c{i}" for i in range(len(counts))]
    levels = [max(n, min(max(counts), n * hundredths // 100)) for n in counts]
    assume(levels != counts)
    budget = parsed(f"fill:{hundredths // 100}.{hundredths % 100:02}x", names, counts)
    assert [n + budget[name] for n, name in zip(counts, names, strict=True)] == levels


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_a_json_file_reads_back_what_was_written(tmp_path_factory, amounts):
    assume(sum(amounts) > 0)
    path = tmp_path_factory.mktemp("budget") / "budget.json"
    path.write_text(json.dumps(dict(zip(reversed(NAMES), reversed(amounts), strict=True))))
    assert parsed(path) == dict(zip(NAMES, amounts, strict=True))


@pytest.mark.parametrize("header", ["", "class,count\n", "\ufeffClass, Count\n"])
def test_a_csv_file_may_have_a_header_and_leave_classes_out(tmp_path, header):
    path = tmp_path / "budget.csv"
    path.write_text(header + "emu, 30\n\ncat,0\n", encoding="utf-8")
    assert parsed(path) == {"cat": 0, "dog": 0, "emu": 30}


def test_a_csv_name_with_a_comma_is_quoted(tmp_path):
    path = tmp_path / "budget.csv"
    path.write_text('"emu, wild",3\n')
    assert parsed(path, ["emu, wild"], [1]) == {"emu, wild": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "try fill:max"),
        ("lots", "try fill:max"),
        ("fil:500", "did you mean 'fill'"),
        (":5", "try fill:max"),
        ('{"cat": 5', "not valid JSON"),
        ('{"cta": 5}', "did you mean 'cat'"),
        ('{"cat": -5}', "negative"),
        ("-5", "negative"),
        ("fill:-5", "negative"),
        ("1.5", "not a whole number"),
        ("1e3", "not a whole number"),
        ("1_000", "not a whole number"),
        ("+5", "not a whole number"),
        ("fill:", "not a whole number"),
        ("fill:MAX", "not a whole number"),
        ("fill:1x", "1x of a class's real images are there already; name a number above 1"),
        ("fill:1.000x", "there already"),
        ("fill:0.5x", "there already"),
        ("fill:0x", "there already"),
        ("fill:-2x", "not a multiple of the real images, such as 6x or 2.5x"),
        ("fill:x", "not a multiple"),
        ("fill:6 x", "not a multiple"),
        ("fill:1e3x", "not a multiple"),
        ("fill:.5x", "not a multiple"),
        (f"fill:{'9' * 5000}x", "not a multiple"),
        ("6x", "none of"),
        ("cap:0", "allows no images; name at least 1"),
        ("cap:-5", "negative"),
        ("cap:max", "not a whole number"),
        ("cap:2.5", "not a whole number"),
        ("total:٣", "not a whole number"),
        ("0", "nothing to generate"),
        ("total:0", "nothing to generate"),
        ("fill:1", "every class has at least 1 real images already"),
        ("4000000", "12,000,000 images, the limit is 10,000,000"),
        ("total:10000001", "the limit is 10,000,000"),
        ("9" * 5000, "the limit of 10,000,000"),
        ("absent.csv", "no such file"),
        ("absent.json", "no such file"),
    ],
)
def test_nonsense_is_refused_with_the_remedy(text, words):
    with pytest.raises(BudgetError, match="--per-class-budget") as caught:
        parsed(text)
    assert words in str(caught.value)


def test_filling_a_balanced_set_to_its_maximum_is_nothing_to_generate():
    with pytest.raises(BudgetError, match="nothing to generate"):
        parsed("fill:max", NAMES, (5, 5, 5))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("b.csv", "cta,5\n", "no class 'cta'; did you mean 'cat'"),
        ("b.csv", "zzzzzz,5\n", "the 3 classes are cat, dog, emu"),
        ("b.csv", "cat,5\ncat,6\n", "'cat' twice"),
        ("b.csv", "cat,5\ndog\n", "line 2"),
        ("b.csv", "cat;5\n", "is not class,count"),
        ("b.csv", "cat,five\n", "not a whole number"),
        ("b.csv", "cat,-5\n", "negative"),
        ("b.csv", "", "nothing to generate"),
        ("b.csv", 'cat,"5\n', "not valid CSV"),
        ("b.csv", b"\xff\xfe\x00", "cannot be read"),
        ("b.json", "{", "not valid JSON"),
        ("b.json", "[1, 2]", "not a JSON object"),
        ("b.json", "7", "not a JSON object"),
        ("b.json", '{"cat": 1, "cat": 2}', "'cat' twice"),
        ("b.json", '{"cat": 1.5}', "not a whole number"),
        ("b.json", '{"cat": true}', "not a whole number"),
        ("b.json", '{"cat": "5"}', "not a whole number"),
        ("b.json", '{"cat": {"dog": 1}}', "not a whole number"),
        ("b.json", '{"cat": -1}', "negative"),
        ("b.json", "[" * 100_000, "not valid JSON"),
    ],
)
def test_a_bad_budget_file_is_refused_with_what_is_wrong(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BudgetError) as caught:
        parsed(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_an_error_says_how_each_form_is_written(form):
    with pytest.raises(BudgetError, match="none of:") as caught:
        parsed("lots")
    assert FORMS.about(form).about in str(caught.value)
    assert FORMS.about(form).about in SynthesisOptions.__dataclass_fields__["per_class_budget"].metadata["help"]


def test_a_new_form_is_a_function_and_an_entry(monkeypatch):
    def times(amount, counts, where):
        return [whole(amount, where) * n for n in counts]

    monkeypatch.setitem(FORMS.entries, "times", Entry(where=times, about="times:N generates N for each real image"))
    assert parsed("times:2") == {"cat": 100, "dog": 14, "emu": 2}
    assert resolve(SynthesisOptions, {"per-class-budget": "times:2"}, image_side=8).per_class_budget == "times:2"
    assert "times:N generates N for each real image" in budget_forms()
    for text, words in (
        ("tims:2", "did you mean 'times'"),
        ("times:x", "not a whole number"),
        ("times:0", "nothing to generate"),
    ):
        with pytest.raises(BudgetError, match=words):
            parsed(text)


def given_from_python(budget):
    options = resolve(SynthesisOptions, {"per_class_budget": budget}, image_side=8)
    return json.loads(json.dumps(plain(options)))["per_class_budget"]


@pytest.mark.parametrize("amount", [30, np.int64(30)])
def test_python_may_give_a_mapping_which_is_recorded_as_json(amount):
    assert parsed(given_from_python({"emu": amount, "cat": 0})) == {"cat": 0, "dog": 0, "emu": 30}
    assert json.loads(given_from_python({"emu": amount, 7: 1})) == {"emu": 30, "7": 1}


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"cat": -1}, "negative"),
        ({"cat": 1.5}, "not a whole number"),
        ({"cat": "5"}, "not a whole number"),
        ({"cat": float("nan")}, "not a whole number"),
        ({"7": 1, 7: 2}, "'7' twice"),
        ({"cat": {1}}, "cannot be written as JSON"),
        ({("cat",): 1}, "cannot be written as JSON"),
    ],
)
def test_a_mapping_is_checked_as_a_file_is(budget, words):
    with pytest.raises((BudgetError, OptionError), match=words):
        given_from_python(budget)


def test_a_long_text_is_shortened_in_an_error():
    with pytest.raises(BudgetError) as caught:
        check_budget(json.dumps({f"class {i}": 1.5 for i in range(1000)}))
    assert len(str(caught.value)) < 400
