"""What has to be said below a table of generators: what could not be measured and why, and the runs' warnings."""

from __future__ import annotations

from collections.abc import Mapping

from ltaug.metrics.measures import MEASURES
from ltaug.report.evaluations import Evaluation
from ltaug.report.wording import count, metric_name, several


def remarks(by_row: Mapping[str, Mapping[int, Evaluation]]) -> tuple[str, ...]:
    """Sentences about the evaluations of a table (row -> seed -> evaluation), each said once."""
    seeds = {seed for by_seed in by_row.values() for seed in by_seed}
    lacking: dict[tuple[str, str], dict[str, list[str]]] = {}  # (seeds, reason) -> row -> measures
    warned: dict[str, dict[str, None]] = {}
    for name, by_seed in by_row.items():
        for text in (str(text) for one in by_seed.values() for text in one.metrics["warnings"]):
            warned.setdefault(text, {})[name] = None
        for (key, reason), at in _reasons(by_seed).items():
            when = "" if len(at) == len(by_seed) else f" at seed{'s' * (len(at) > 1)} {several(at)}"
            lacking.setdefault((when, reason), {}).setdefault(name, []).append(_name(key))
    notes = []
    for (when, reason), rows in lacking.items():
        keys = list(dict.fromkeys(key for measures in rows.values() for key in measures))
        whose = "" if len(rows) == len(by_row) else f" of {'; '.join(rows)}"
        notes.append(f"Not measured{when}{whose}: {'; '.join(keys)}. Reason: {reason.rstrip('.')}.")
    for text, names in warned.items():
        notes.append(text if len(names) == len(by_row) else f"{'; '.join(names)}: {text}")
    for name, by_seed in by_row.items():
        gone = sorted(seeds - set(by_seed))
        if gone:
            notes.append(f"{name} was not evaluated at {count(len(gone), 'seed')} ({several(gone)}).")
    return tuple(notes)


def _name(key: str) -> str:
    """A measure in a list of them: 'KID'; 'recall, few'."""
    measure, _, group = key.partition("/")
    name = MEASURES[measure].brief_name if measure in MEASURES else metric_name(measure)
    return f"{name}, {group}" if group else name


def _reasons(by_seed: Mapping[int, Evaluation]) -> dict[tuple[str, str], list[int]]:
    """(measure, why it is missing) -> the seeds at which it is."""
    found: dict[tuple[str, str], list[int]] = {}
    for seed, one in sorted(by_seed.items()):
        for key, reason in one.reasons.items():
            found.setdefault((key, reason), []).append(seed)
    return found
