"""What a JSON file of a run must look like: every misfit is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltaug.errors import CorruptError
from ltaug.shapes import LARGEST, require_shape

SHAPE = {"name": str, "counts?": {str: int}, "rows?": [[float]], "size?": (int, int), "left?": (int, None)}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], r"it is \[\], where an object is needed"),
        ({}, "it has no name"),
        ({"name": 3}, "name is 3, where text is needed"),
        ({"name": "a", "counts": {"x": 1.5}}, r"counts\.x is 1\.5, where a whole number is needed"),
        ({"name": "a", "counts": {"x": True}}, r"counts\.x is True, where a whole number"),
        ({"name": "a", "counts": {"x": LARGEST}}, r"counts\.x is 9223372036854775808, where"),
        ({"name": "a", "rows": [[0.5], [float("nan")]]}, r"rows\.1\.0 is nan, where a number is needed"),
        ({"name": "a", "size": [1, 2, 3]}, "size has 3 of 2 parts"),
        ({"name": "a", "left": "x"}, "left is 'x', where a whole number"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(value, said):
    with pytest.raises(CorruptError, match=f"run.json is damaged: {said}.*; delete a and run its command again"):
        require_shape(value, SHAPE, Path("a/run.json"))


def test_what_fits_and_what_the_shape_does_not_speak_of_is_taken():
    require_shape({"name": "a", "rows": [[1, 0.5]], "size": [1, 2], "left": None, "more": object()}, SHAPE, Path("a/run.json"))
