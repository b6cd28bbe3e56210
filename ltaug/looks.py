"""When `ltaug run RECIPE --until-decided` looks at the verdict, and why it adds no more seeds."""

from __future__ import annotations

from ltaug.errors import OptionError

LOOKS = (3, 5, 10)  # seeds in all
MAX_SEEDS = LOOKS[-1]
LIMIT = 1000  # seeds of one experiment


def require_seeds(seeds: int, where: str) -> None:
    """Raise OptionError for more seeds, or fewer, than can be planned."""
    if not 1 <= seeds <= LIMIT:
        raise OptionError(f"{where} {seeds} must be a whole number of at least 1 and at most {LIMIT:,}")


def looks(max_seeds: int) -> tuple[int, ...]:
    """Seeds in all at each look: those of LOOKS below `max_seeds`, and `max_seeds`.

    No more looks than these: each may err, and the verdict's level is made for three that claim (5, 10 and a last one).

    Raises:
        OptionError: there are fewer seeds than the first look takes, or more than `require_seeds` allows.
    """
    if max_seeds < LOOKS[0]:
        raise OptionError(f"--max-seeds {max_seeds} must be at least {LOOKS[0]}, as many as the first look takes")
    require_seeds(max_seeds, "--max-seeds")
    return (*(seeds for seeds in LOOKS if seeds < max_seeds), max_seeds)


def ending(seeds: int, max_seeds: int, *, decided: bool, needed: int | None) -> str | None:
    """A sentence on why the look at so many seeds is the last; None if another one is due.

    Args:
        decided: whether the verdict is.
        needed: seeds in all after which it could be; None if that is not known.
    """
    if decided:
        return f"Decided after {seeds} seeds."
    if needed is not None and needed > max_seeds:
        return f"This cannot be decided within {max_seeds} seeds: about {needed} would be needed."
    return f"Not decided within {max_seeds} seeds." if seeds >= max_seeds else None
