"""--per-class-budget: what the user writes becomes one validated dict, class name -> images to generate."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.data.longtail import listed
from ltaug.errors import BudgetError, nearest

MAX_TOTAL = 10_000_000
_FORMS = "N, fill:N, fill:max, total:N or a .csv or .json file of class,count"
_FILES = (".csv", ".json")


def parse_budget(text: str, *, class_names: Sequence[str], class_counts: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, int]:
    """Images to generate for every class, in class order.

    Args:
        text: "500" (that many a class), "fill:500" or "fill:max" (top real images up to 500 or to the largest class),
            "total:5000" (shared out so that the smallest real + generated counts rise evenly; a remainder goes to the
            rarest classes), or a path to a CSV (class,count; a header line is optional) or a JSON object. Classes a
            file does not name get 0.
        class_counts: real training images per class.

    Raises:
        BudgetError: not one of these forms, negative or not whole, an unknown or repeated class, nothing to generate,
            or more than 10 million images.
    """
    counts = [int(n) for n in class_counts]
    assert len(counts) == len(class_names)
    text = text.strip()
    where = f"--per-class-budget {text!r}"
    path = Path(text)
    if path.suffix.lower() in _FILES:
        named = _read_file(path, where)
        _require_known(named, class_names, where)
        budget = [named.get(name, 0) for name in class_names]
    else:
        budget = _from_words(text, counts, where)
    if sum(budget) == 0:
        raise BudgetError(f"{where} leaves nothing to generate: {_why_nothing(text, counts)}")
    if sum(budget) > MAX_TOTAL:
        raise BudgetError(f"{where} asks for {sum(budget):,} images, the limit is {MAX_TOTAL:,}; ask for fewer")
    return dict(zip(class_names, budget, strict=True))


def check_budget(text: str) -> None:
    """Raise BudgetError for a text that is a budget of no classes whatever, before the classes are known."""
    if Path(text.strip()).suffix.lower() in _FILES:
        _read_file(Path(text.strip()), f"--per-class-budget {text!r}")
    else:
        _from_words(text.strip(), [1], f"--per-class-budget {text!r}")


def fill_evenly(counts: Sequence[int], total: int) -> list[int]:
    """Share `total` so that the smallest of counts + shares rise evenly; a remainder goes to the rarest, then by index."""
    low, high = min(counts), max(counts) + total
    while low < high:  # the highest level that `total` can raise every class to
        middle = (low + high + 1) // 2
        if sum(max(0, middle - n) for n in counts) <= total:
            low = middle
        else:
            high = middle - 1
    shares = [max(0, low - n) for n in counts]
    raised = sorted((n, index) for index, n in enumerate(counts) if n <= low)
    for _, index in raised[: total - sum(shares)]:
        shares[index] += 1
    return shares


def _from_words(text: str, counts: list[int], where: str) -> list[int]:
    form, colon, amount = text.partition(":")
    if not colon:
        if not re.fullmatch(r"[-+]?[0-9][0-9.,_eE+-]*", text):
            raise BudgetError(f"{where} is not {_FORMS}; try fill:max")
        return [_whole(text, where)] * len(counts)
    if form == "fill":
        level = max(counts) if amount == "max" else _whole(amount, where)
        return [max(0, level - n) for n in counts]
    if form == "total":
        total = _whole(amount, where)
        if total > MAX_TOTAL:
            raise BudgetError(f"{where} asks for {total:,} images, the limit is {MAX_TOTAL:,}; ask for fewer")
        return fill_evenly(counts, total)
    raise BudgetError(f"{where} is not {_FORMS}; {nearest(form, ['fill', 'total'])}")


def _whole(text: str, where: str) -> int:
    """A count written in plain digits; int() alone would also take 1_000, +5 and other scripts' digits."""
    if re.fullmatch(r"-[0-9]+", text):
        raise BudgetError(f"{where}: {text} is negative; use 0 or more")
    if not re.fullmatch(r"[0-9]+", text):
        raise BudgetError(f"{where}: {text!r} is not a whole number in plain digits, such as 500")
    digits = text.lstrip("0") or "0"
    if len(digits) > 12:
        raise BudgetError(f"{where}: {text[:12]}... is more than the limit of {MAX_TOTAL:,} images; ask for fewer")
    return int(digits)


def _read_file(path: Path, where: str) -> dict[str, int]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BudgetError(f"{where}: there is no such file; name a file or write one of {_FORMS}") from error
    except (OSError, ValueError) as error:
        raise BudgetError(f"{where} cannot be read ({error}); give a UTF-8 text file") from error
    pairs = _json_pairs(content, where) if path.suffix.lower() == ".json" else _csv_pairs(content, where)
    named: dict[str, int] = {}
    for name, amount in pairs:
        if name in named:
            raise BudgetError(f"{where} names class {name!r} twice; keep one of them")
        named[name] = amount
    return named


def _csv_pairs(content: str, where: str) -> list[tuple[str, int]]:
    pairs = []
    try:
        rows = list(csv.reader(io.StringIO(content), strict=True))
    except csv.Error as error:
        raise BudgetError(f"{where} is not valid CSV ({error}); write one class,count a line") from error
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [cell.lower() for cell in cells] == ["class", "count"]):
            continue
        if len(cells) != 2:
            line = f"{where}, line {number}: {','.join(cells)!r}"
            raise BudgetError(f"{line} is not class,count; quote a name that has a comma in it")
        pairs.append((cells[0], _whole(cells[1], f"{where}, line {number}")))
    return pairs


def _json_pairs(content: str, where: str) -> list[tuple[str, int]]:
    try:
        document: Any = json.loads(content, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise BudgetError(f'{where} is not valid JSON ({error}); write {{"class": count, ...}}') from error
    if not isinstance(document, list) or not all(isinstance(pair, tuple) for pair in document):
        raise BudgetError(f'{where} is not a JSON object; write {{"class": count, ...}}')
    for name, amount in document:
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise BudgetError(f"{where}: class {name!r} has {json.dumps(amount)}, which is not a whole number")
    return [(name, _whole(str(amount), f"{where}: class {name!r}")) for name, amount in document]


def _require_known(named: dict[str, int], class_names: Sequence[str], where: str) -> None:
    for name in named:
        if name not in class_names:
            hint = nearest(name, class_names)
            if not hint.startswith("did you mean"):
                hint = f"the {len(class_names)} classes are {listed(list(class_names))}"
            raise BudgetError(f"{where}: there is no class {name!r}; {hint}")


def _why_nothing(text: str, counts: list[int]) -> str:
    if text.startswith("fill:"):
        return f"every class has at least {min(counts)} real images already; name a higher fill:N or a number a class"
    return "every count is 0; name a positive number"
