"""The format in which each kind of file is written. Earlier ones are read too; later ones are refused.

A file says its format under "format"; one without is of format 0. JSON objects are sealed alike in every format, so that a later
format is told from damage. Whoever raises a number keeps an experiment of the new format (tests/keeping.py); whoever stops
reading an earlier one names the last version of ltaug that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltaug.errors import MismatchError

FORMAT = "format"  # the key
RUN = 1  # run.json
REPORT = 1  # report.json
DIRECTORY = 1  # manifest.json of a checkpoint or an entry of the dataset cache
WEIGHTS = 1  # the header of a classifier's weights
CACHE = 4  # an entry of the dataset cache; part of its name, so that no other is opened


def require_known(content: Mapping[str, Any], newest: int, *, what: object) -> None:
    """Raise MismatchError if a file's content is of a later format than the newest that this version reads."""
    found = content.get(FORMAT, 0)
    if not isinstance(found, int) or found > newest:
        raise MismatchError(f"{what} was written by a newer ltaug (format {found}, this one reads up to {newest}); update ltaug")
