"""Draw the events of stages: bars on a terminal, now and then a line elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from ltaug.runs import Event, Listener, ignore_events

WIDE = 110  # columns of a terminal that has room for figures beside the bars
LINE_INTERVAL = 5.0  # seconds between two lines about one run


@contextmanager
def progress(*, quiet: bool) -> Iterator[Listener]:
    """A listener that shows events as suits stderr."""
    if quiet:
        yield ignore_events
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _without_repeats(Bars(bars))
    else:
        yield _without_repeats(Lines())


def _without_repeats(listener: Listener) -> Listener:
    """A listener that leaves out what is to be shown once and was."""
    shown: set[str] = set()

    def hear(event: Event) -> None:
        if event.once and event.text in shown:
            return
        if event.once:
            shown.add(event.text)
        listener(event)

    return hear


def _bars() -> Progress:
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=24 if console.width >= WIDE else 10),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9)),
        TextColumn("eta", table_column=Column(no_wrap=True, min_width=3)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
    ]
    if console.width >= WIDE:
        columns.append(TextColumn("[dim]{task.fields[figures]}", table_column=Column(no_wrap=True, min_width=30)))
    return Progress(*columns, console=console, expand=True, refresh_per_second=4, speed_estimate_period=120, transient=True)


class Bars:
    """One bar for every run in progress and one for the whole; messages above them."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._shown: dict[str, tuple[str, TaskID]] = {}

    def __call__(self, event: Event) -> None:
        if event.total is None:
            self._bars.console.print(f"[dim]{escape(_name(event))}", highlight=False)
            return
        text, task = self._shown.get(event.run, ("", None))
        if task is None or text != event.text:
            if task is not None:
                self._bars.remove_task(task)
            description = escape(_name(event))
            task = self._bars.add_task(description, total=event.total, completed=event.step, figures="")
            self._shown[event.run] = (event.text, task)
        self._bars.update(task, completed=event.step, total=event.total, figures=_figures(event.values))
        if event.step >= event.total:
            self._bars.remove_task(self._shown.pop(event.run)[1])


class Lines:
    """A line when a run starts something, every few seconds while it lasts, and for every message."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._began: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.total is None or event.total == event.step == 1:
            click.echo(_name(event), err=True)
            return
        began, first = self._began.setdefault((event.run, event.text), (now, event.step))
        if event.step >= event.total:
            del self._began[event.run, event.text]  # the same may begin again, such as the check of the next look
        if now - self._said.get(event.run, float("-inf")) < LINE_INTERVAL:
            return
        self._said[event.run] = now
        parts = [f"{_name(event)} {event.step}/{event.total}"]
        if first < event.step < event.total and event.run:
            parts.append(f"about {duration((now - began) / (event.step - first) * (event.total - event.step))} left")
        if event.values:
            parts.append(_figures(event.values))
        click.echo(", ".join(parts), err=True)


def _name(event: Event) -> str:
    return f"{event.run}: {event.text}" if event.run else event.text


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def duration(seconds: float) -> str:
    """Seconds as people say them: 8.2 s, 95 s, 12 min, 3.5 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
