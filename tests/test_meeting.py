"""Waiting for what another process puts into a directory."""

import errno

import pytest

from ltaug import meeting
from ltaug.meeting import names_in, wait_for_run, wait_until
from ltaug.runs import open_run


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only while somebody sleeps, as a list of one."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(meeting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(meeting.time, "sleep", sleep)
    return now


@pytest.mark.parametrize(("seconds", "times"), [(0.0, 0), (4.0, 0), (6.0, 1), (11.0, 2), (100.0, 5)])
def test_a_wait_is_told_when_it_takes_long_and_ever_less_often(clock, seconds, times):
    said = []
    wait_until(lambda: "Waiting for rank 1." if clock[0] < seconds else None, said.append)
    assert said == ["Waiting for rank 1."] * times
    assert clock[0] - seconds < meeting.LONGEST


def test_a_file_replaced_on_another_machine_is_looked_at_again(clock):
    asked = []

    def stale_at_first():
        asked.append(clock[0])
        if len(asked) == 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        return None

    wait_until(stale_at_first, print)
    assert len(asked) == 2
    with pytest.raises(OSError, match="No space left"):
        wait_until(lambda: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")), print)


def test_a_run_is_waited_for_until_it_is_opened_or_finished(tmp_path, monkeypatch, clock):
    path, said, slept = tmp_path / "runs" / "a", [], meeting.time.sleep
    opened = open_run(path, stage="s", label="a", seed=0, options={}, inputs={}, versions={}, device={})
    run = []

    def meanwhile(seconds):
        slept(seconds)
        if not run and clock[0] > 7:
            run.append(opened.__enter__())
        if run and clock[0] > 27:
            run[0].finish([])

    monkeypatch.setattr(meeting.time, "sleep", meanwhile)
    assert wait_for_run(path, said.append)["status"] == "running"
    assert wait_for_run(path, said.append, finished=True)["status"] == "finished"
    opened.__exit__(None, None, None)
    assert said[0] == f"Waiting for rank 0 to open {path}."
    assert set(said[1:]) == {f"Waiting for rank 0 to finish {path}."}
    assert names_in(path) == {"run.json", ".lock"}
    assert names_in(tmp_path / "none") == set()
