"""What has to be said below a table of generators: what could not be measured and why, and the runs' warnings."""

from __future__ import annotations

from collections.abc import Mapping

from ltaug.report.evaluations import Evaluation
from ltaug.report.wording import count, metric_name, several


def remarks(by_row: Mapping[str, Mapping[int, Evaluation]]) -> tuple[str, ...]:
    """Sentences about the evaluations of a table (row -> seed -> evaluation), each said once."""
    seeds = {seed for by_seed in by_row.values() for seed in by_seed}
    lacking: dict[str, dict[str, None]] = {}  # "row and its seeds: reason" -> measures
    warned: dict[str, dict[str, None]] = {}
    for name, by_seed in by_row.items():
        per_reason: dict[str, dict[str, list[int]]] = {}
        for seed, one in sorted(by_seed.items()):
            for key, reason in one.reasons.items():
                per_reason.setdefault(reason, {}).setdefault(key, []).append(seed)
            for text in one.metrics["warnings"]:
                warned.setdefault(str(text), {})[name] = None
        for reason, keys in per_reason.items():
            for key, at in keys.items():
                where = name if len(at) == len(by_seed) else f"{name} at {'seed' if len(at) == 1 else 'seeds'} {several(at)}"
                lacking.setdefault(f"{where}: {reason}", {})[key] = None
    notes = [f"Not measured, {text.rstrip('.')} ({several([metric_name(k) for k in keys])})." for text, keys in lacking.items()]
    for text, names in warned.items():
        notes.append(text if len(names) == len(by_row) else f"{several(list(names))}: {text}")
    for name, by_seed in by_row.items():
        gone = sorted(seeds - set(by_seed))
        if gone:
            notes.append(f"{name} was not evaluated at {count(len(gone), 'seed')} ({several(gone)}).")
    return tuple(notes)
