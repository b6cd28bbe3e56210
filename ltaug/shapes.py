"""What a JSON file of a run must look like. A seal says that it is whole, and not that this program wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltaug.errors import damaged

# A type; [shape] is a list, {str: shape} any object, {"name": shape} one with these keys, of which those with ? may be missing,
# (shape, None) may be null, and a longer tuple is a list of so many. A number is below LARGEST.
Shape = Any
LARGEST = 2**63
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list"}

_NUMBERS = dict.fromkeys(("images?", "steps?", "draw_seed?"), int)
_INPUT: Shape = ({"digest?": (str, None), "path?": (str, None), "source?": str, **_NUMBERS}, None)
RECORD: Shape = {
    "format?": int,
    "stage": str,
    "seed": int,
    "status": str,
    "label?": str,
    "options": {"dataset?": dict, "arm?": (str, None), "about?": (str, None), "judge?": bool, "notes?": [str]},
    "inputs": {
        **dict.fromkeys(
            ("train?", "test?", "source?", "generator?", "reference?", "extractor?", "pretrained?", "pipeline?", "withdraw?"),
            _INPUT,
        ),
        **dict.fromkeys(("judges?", "teachers?"), ([_INPUT], None)),
        "synthetic?": ({**_INPUT[0], "origin?": str}, None),
    },
    "versions": {str: str},
    "device": dict,
    "timings": {str: float},
    "spent?": {"processor?": float},
    "outputs": {str: str},
    "facts": {
        **{key: [str] for key in ("class_names?", "dataset_notes?", "notes?")},
        "class_counts?": [int],
        "image_shape?": (int, int, int),
        **{key: {str: int} for key in ("wanted?", "kept?", "candidates?", "rejected?", "shortfall?", "duplicates?")},
        **dict.fromkeys(("synthetic_counts?", "resampled_counts?"), ([int], None)),
        "steps?": (int, None),
        "parameters?": (int, None),
        "pretrained?": {str: str},
        "outside?": [
            {"role": str, "name": str, "files": {str: str}}
            | dict.fromkeys(("repository?", "revision?", "licence?", "trained_on?"), str)
        ],
        "real_nearest?": {str: float},
        "groups?": {str: [int]},
        "rounds?": [{"first": int, "world": int, "size": int}],
        "overlap?": {
            **dict.fromkeys(("images?", "checked?"), int),
            **dict.fromkeys(("near_test?", "near_train?", "near_features?"), (float, None)),
            **dict.fromkeys(("test_limit?", "train_limit?", "features_limit?"), (float, None)),
            "closest?": [[float]],
            "real_nearest?": {str: float},
        },
    },
}
_MEASURED: Shape = {"summary": {str: (float, None)}, "per_class": {str: [(float, None)]}, "class_names": [str]}
CLASSIFIER_METRICS: Shape = {**_MEASURED, "groups?": {str: [int]}, "confusion": [[int]], "rule?": str, "never_predicted?": [str]}
EVALUATION_METRICS: Shape = {
    **_MEASURED,
    "groups": {str: [int]},
    "class_counts": [int],
    "reasons": {str: str},
    "warnings": [str],
    "provenance": {
        **dict.fromkeys(("samples?", "seed?", "sample_steps?"), int),
        **{"guidance?": (float, None), "guidance_interval?": [float]},
    },
}
# Of a classifier's weights.
NETWORK: Shape = {
    **{"model": str, "class_names": [str], "image_shape": (int, int, int)},
    **{"head?": str, "statistics?": {"mean": [float], "std": [float]}, "format?": int},
}


def require_shape(value: Any, shape: Shape, path: Path) -> None:
    """Raise CorruptError, naming the place, unless the JSON value read from `path` has the shape."""
    if wrong := _misfit(value, shape, ""):
        raise damaged(f"{path} is damaged: {wrong}", path.parent)


def _misfit(value: Any, shape: Shape, at: str) -> str:
    """Where the value does not have the shape, "" if nowhere."""
    if isinstance(shape, tuple) and shape[-1] is None:
        return "" if value is None else _misfit(value, shape[0], at)
    if isinstance(shape, tuple):
        wrong = "" if not isinstance(value, list) or len(value) == len(shape) else f"{at} has {len(value)} of {len(shape)} parts"
        return wrong or _misfit(value, [*shape[:1]], at)
    kind = shape if isinstance(shape, type) else type(shape)
    if not _is(value, kind):
        shown = repr(value)
        return f"{at or 'it'} is {shown if len(shown) < 60 else f'{shown[:60]}...'}, where {_KINDS[kind]} is needed"
    if isinstance(shape, list):
        parts = [(str(i), one, shape[0]) for i, one in enumerate(value)]
    elif isinstance(shape, Mapping) and str in shape:
        parts = [(key, one, shape[str]) for key, one in value.items()]
    elif isinstance(shape, Mapping):
        needed = {key.rstrip("?"): one for key, one in shape.items()}
        if missing := [key for key in shape if not key.endswith("?") and key not in value]:
            return f"{at or 'it'} has no {', '.join(missing)}"
        parts = [(key, value[key], one) for key, one in needed.items() if key in value]
    else:
        return ""
    return next((wrong for name, one, part in parts if (wrong := _misfit(one, part, f"{at}.{name}".lstrip(".")))), "")


def _is(value: Any, kind: type) -> bool:
    if kind not in (int, float):
        return isinstance(value, kind)
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool) and abs(value) < LARGEST
