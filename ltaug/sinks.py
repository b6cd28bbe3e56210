"""Where a run's progress is recorded; methods.SINKS names these, and `--log` chooses any number of them.

A sink is made from the run directory and the run's label, in the process that leads, and called with every event of the
unfinished run, also in the workers of `ltaug run`, which thin what they send to the progress bar. What it raises ends the
stage. A run that is continued makes its sinks anew, so they append.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

from ltaug.runs import Event, Listener


def jsonl(run: Path, label: str) -> Listener:
    """metrics.jsonl: one line for each message and each event with values."""

    def record(event: Event) -> None:
        if event.total is None or event.values:
            line = {"time": _now(), "text": event.text, "step": event.step, "total": event.total, **event.values}
            with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    return record


def long_csv(run: Path, label: str) -> Listener:
    """metrics.csv: one row for each value, under time, text, step, total, name and value.

    A name that first appears later is a row like the others; no column has to be added.
    """

    def record(event: Event) -> None:
        if not event.values:
            return
        with (run / "metrics.csv").open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(("time", "text", "step", "total", "name", "value"))
            writer.writerows((_now(), event.text, event.step, event.total, *item) for item in event.values.items())

    return record


def _now() -> float:
    return round(time.time(), 3)
