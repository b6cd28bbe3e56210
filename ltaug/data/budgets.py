"""--per-class-budget: what the user writes becomes one validated dict, class name -> images to generate."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.data.longtail import listed
from ltaug.errors import BudgetError, nearest
from ltaug.methods import FORMS, budget_forms

MAX_TOTAL = 10_000_000
_FILES = (".csv", ".json")


def parse_budget(text: str, *, class_names: Sequence[str], class_counts: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, int]:
    """Images to generate for every class, in class order.

    Args:
        text: a form of methods.FORMS, such as "500" or "fill:max"; a JSON object of class: count; or a path to one or to a CSV
            (class,count; a header line is optional). Classes that are not named get 0.
        class_counts: real training images per class.

    Raises:
        BudgetError: none of these, negative or not whole, an unknown or repeated class, nothing to generate,
            or more than 10 million images.
    """
    counts = [int(n) for n in class_counts]
    assert len(counts) == len(class_names)
    where = _where(text)
    named = _named(text, where)
    if named is None:
        budget = _from_form(text, counts, where)
    else:
        _require_known(named, class_names, where)
        budget = [named.get(name, 0) for name in class_names]
    if sum(budget) == 0:
        reached = f"every class has at least {min(counts)} real images already"
        raise BudgetError(f"{where} leaves nothing to generate: {reached}; name a higher number")
    require_limit(sum(budget), where)
    return dict(zip(class_names, budget, strict=True))


def check_budget(text: str) -> None:
    """Raise BudgetError for a text that is no budget of any classes, before the classes are known."""
    where = _where(text)
    if _named(text, where) is None:
        _from_form(text, [1], where)


def each(amount: str, counts: Sequence[int], where: str) -> list[int]:
    """The same number of images for each class."""
    return [whole(amount, where)] * len(counts)


def fill(amount: str, counts: Sequence[int], where: str) -> list[int]:
    """As many as real images lack up to a number, to those of the largest class, or at most that to a multiple such as 2.5x."""
    if amount != "max" and amount.endswith("x"):
        multiple = _multiple(amount, where)
        return [max(0, min(max(counts), math.floor(multiple * n)) - n) for n in counts]
    level = max(counts) if amount == "max" else whole(amount, where)
    return [max(0, level - n) for n in counts]


def cap(amount: str, counts: Sequence[int], where: str) -> list[int]:
    """As `fill:max`, but at most so many images a class."""
    most = whole(amount, where)
    if most == 0:
        raise BudgetError(f"{where} allows no images; name at least 1, such as cap:500")
    return [min(most, n) for n in fill("max", counts, where)]


def total(amount: str, counts: Sequence[int], where: str) -> list[int]:
    """A number shared out by `fill_evenly`."""
    shared = whole(amount, where)
    require_limit(shared, where)
    return fill_evenly(counts, shared)


def fill_evenly(counts: Sequence[int], total: int) -> list[int]:
    """Share `total` so that the smallest of counts + shares rise evenly; a remainder goes to the rarest, then by index."""
    levels = range(min(counts), max(counts) + total + 1)
    # The highest level that `total` can raise every class to.
    level = levels[bisect_right(levels, total, key=lambda level: sum(max(0, level - n) for n in counts)) - 1]
    shares = [max(0, level - n) for n in counts]
    raised = sorted((n, index) for index, n in enumerate(counts) if n <= level)
    for _, index in raised[: total - sum(shares)]:
        shares[index] += 1
    return shares


def whole(text: str, where: str) -> int:
    """A count written in plain digits; int() alone would also take 1_000, +5 and other scripts' digits.

    Raises:
        BudgetError: anything else, said to be at `where`.
    """
    if re.fullmatch(r"-[0-9]+", text):
        raise BudgetError(f"{where}: {text} is negative; use 0 or more")
    if not re.fullmatch(r"[0-9]+", text):
        raise BudgetError(f"{where}: {text!r} is not a whole number in plain digits, such as 500")
    digits = text.lstrip("0") or "0"
    if len(digits) > 12:
        raise BudgetError(f"{where}: {text[:12]}... is more than the limit of {MAX_TOTAL:,} images; ask for fewer")
    return int(digits)


def require_limit(images: int, where: str) -> None:
    """Raise BudgetError where these are too many."""
    if images > MAX_TOTAL:
        raise BudgetError(f"{where} asks for {images:,} images, the limit is {MAX_TOTAL:,}; ask for fewer")


def _multiple(amount: str, where: str) -> Fraction:
    """The exact number above 1 that is written as in 6x or 2.5x."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?x", amount):
        raise BudgetError(f"{where}: {amount!r} is not a multiple of the real images, such as 6x or 2.5x")
    multiple = Fraction(amount[:-1])
    if multiple <= 1:
        raise BudgetError(f"{where}: {amount} of a class's real images are there already; name a number above 1, such as fill:6x")
    return multiple


def _where(text: str) -> str:
    shown = text.strip()
    return f"--per-class-budget {shown if len(shown) <= 200 else f'{shown[:200]}...'!r}"


def _from_form(text: str, counts: list[int], where: str) -> list[int]:
    form, _, amount = text.strip().rpartition(":")
    if form not in FORMS or (not form and not re.fullmatch(r"[-+]?[0-9][0-9.,_eE+-]*", text.strip())):
        hint = nearest(form, [*filter(None, FORMS)]) if form else "try fill:max"
        raise BudgetError(f"{where} is none of: {budget_forms()}; {hint}")
    found: list[int] = FORMS[form](amount, counts, where)
    return found


def _named(text: str, where: str) -> dict[str, int] | None:
    """The classes that a file or a JSON text names with their counts; None for a text that is neither."""
    path = Path(text.strip())
    if text.strip().startswith("{"):
        pairs = _json_pairs(text, where)
    elif path.suffix.lower() in _FILES:
        read = _json_pairs if path.suffix.lower() == ".json" else _csv_pairs
        pairs = read(_content(path, where), where)
    else:
        return None
    named: dict[str, int] = {}
    for name, amount in pairs:
        if name in named:
            raise BudgetError(f"{where} names class {name!r} twice; keep one of them")
        named[name] = amount
    return named


def _content(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BudgetError(f"{where}: there is no such file; name one that exists, or write one of: {budget_forms()}") from error
    except (OSError, ValueError) as error:
        raise BudgetError(f"{where} cannot be read ({error}); give a UTF-8 text file") from error


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
        pairs.append((cells[0], whole(cells[1], f"{where}, line {number}")))
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
    return [(name, whole(str(amount), f"{where}: class {name!r}")) for name, amount in document]


def _require_known(named: dict[str, int], class_names: Sequence[str], where: str) -> None:
    for name in named:
        if name not in class_names:
            hint = nearest(name, class_names)
            if not hint.startswith("did you mean"):
                hint = f"the {len(class_names)} classes are {listed(list(class_names))}"
            raise BudgetError(f"{where}: there is no class {name!r}; {hint}")
