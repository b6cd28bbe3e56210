"""What inputs nobody would give are made of: values that do not suit, and changes of bytes and of structure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

DEEP = "[" * 5000 + "]" * 5000
WORDS = (
    *("", " ", "-1", "0", "1", "2", "3.5", "1e400", "-1e400", "1e-400", "nan", "inf", "9" * 19, "1" + "0" * 400, "9" * 5000),
    *("1_0", "\u0663", "\xe9", "\udcff", "\u202e", "\n", "..", ".", "/dev/null", "missing/file", "~nobody/x", "a" * 5000),
    *(",", "1,,2", "1,2,x", "none", "true", "%s{}", "[bold]x", "--json", "{", DEEP, '{"0": 1e400}', "folder:", "folder:."),
)  # fmt: skip
VALUES = (
    *(None, True, -1, 0, 3, 0.5, float("nan"), float("inf"), 10**30, 10**400),
    *("", "x", "\ud800", "../..", [], {}, [[]], {"x": 1}),
)
FITS = ["--dataset", "digits", "--imbalance", "20", "--head", "30"]


class Given(NamedTuple):
    """A command line, its environment, and what was done to what it names."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = {}
    about: str = ""


def changed(data: bytes, random: Random) -> bytes:
    """A few bytes changed, cut off, doubled, put in or taken out."""
    for _ in range(random.randint(1, 3)):
        a, b = sorted(random.randrange(len(data) + 1) for _ in "ab")
        b = min(b, a + 200)
        noise = random.choice((random.randbytes(random.randint(1, 8)), b"\xff" * 8, b"9" * 40, b"\0" * 4))
        ways = (
            data[:a],
            data[:a] + noise + data[a:],
            data[:a] + noise + data[a + len(noise) :],
            data[:a] + data[b:],
            data[:b] + data[a:],
            data[:a] + bytes(byte ^ (1 << random.randrange(8)) for byte in data[a : a + 1]) + data[a + 1 :],
        )
        data = random.choice(ways)
    return data


def restructured(value: Any, random: Random) -> Any:
    """A JSON or TOML document of which one value, at any depth, is another, has another name, is doubled or is gone."""
    places = list(_places(value))
    if not places:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    how = random.randrange(8)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[random.choice(("", "x", "\ud800", "path", str(key) * 2))] = holder.pop(key)
    elif how == 2 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif how == 3:
        other, at = random.choice(places)
        holder[key] = json.loads(json.dumps(other[at], default=str))
    else:
        holder[key] = random.choice(VALUES)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])
