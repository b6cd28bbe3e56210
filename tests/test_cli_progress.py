"""Progress over several rounds of the same tasks, as the looks of `ltaug run RECIPE --until-decided` make them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from ltaug.cli import progress
from ltaug.cli.progress import Bars, Lines
from ltaug.runs import Event

ROUND = [
    Event("check", "reading images", 1, 4),
    Event("check", "reading images", 2, 4),
    Event("check", "reading images", 4, 4),
    Event("check", "done", 1, 1),
    Event("", "stages", 1, 2),
    Event("report", "done", 1, 1),
    Event("", "stages", 2, 2),
    Event("", "Look at 3 seeds."),
]


def test_bars_of_every_round_end_with_it():
    screen = io.StringIO()
    shown = Progress(console=Console(file=screen), disable=True)
    bars = Bars(shown)
    for _ in range(3):
        for event in ROUND[:-3]:
            bars(event)
        assert [(task.completed, task.total) for task in shown.tasks] == [(1, 2)], "the bar of the whole round"
        for event in ROUND[-3:]:
            bars(event)
        assert shown.tasks == []
    assert screen.getvalue().count("Look at 3 seeds.") == 3


def test_lines_estimate_what_is_left_from_this_round_alone(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines()
    for pause in (0.0, 1000.0):
        now[0] += pause
        for event in ROUND:
            now[0] += 10.0
            lines(event)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "left" in line] == ["check: reading images 2/4, about 20 s left"] * 2
    assert said.count("Look at 3 seeds.") == 2
    assert len(said) % 2 == 0
    assert said[: len(said) // 2] == said[len(said) // 2 :]


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_shows_nothing(capsys, quiet):
    with progress.progress(quiet=quiet) as listener:
        listener(ROUND[-1])
    assert capsys.readouterr().err == ("" if quiet else "Look at 3 seeds.\n")
