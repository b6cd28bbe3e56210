"""Parts of a synthesis handed to workers: answers, messages, mistakes, a lost worker, how many there are."""

from __future__ import annotations

import pytest
from waiting import LONG

from ltaug.errors import BudgetError, WorkerError
from ltaug.machine import Machine
from ltaug.pipeline import local
from ltaug.pipeline.parts import hired, workers_for

CPU = Machine(device="cpu")


@pytest.fixture
def workers(tmp_path):
    """Two workers, and the messages that were heard of them."""
    heard = []
    asked = {"out": tmp_path / "syn", "size": 8, "machine": CPU, "workers": 2, "engine": None, "module": "fake_stages"}
    with hired(heard.append, **asked) as made:
        yield made, heard


def test_each_worker_has_two_parts_under_way_and_only_messages_are_heard(workers):
    made, heard = workers
    assert (made.slots, made.size) == (4, 8)
    answers = [made.submit([(0, i), (1, i)]) for i in range(6)]
    assert [[key for key, _ in answer.result(LONG)] for answer in answers] == [[(0, i), (1, i)] for i in range(6)]
    assert len({pid for answer in answers for _, pid in answer.result()}) <= 2
    assert [event.text for event in heard] == ["A part of 2, at most 8."] * 6


def test_a_mistake_and_a_lost_worker_reach_the_driver(workers):
    made, _ = workers
    with pytest.raises(BudgetError, match="try fill:max"):
        made.submit([(8, 0)]).result(LONG)
    with pytest.raises(WorkerError, match=r"the worker at syn, part 2 was killed, most likely for lack of memory"):
        made.submit([(9, 0)]).result(LONG)


def test_a_process_alone_makes_its_parts_itself_unless_there_are_several_gpus(monkeypatch):
    assert [workers_for(CPU, count, None) for count in (None, 1, 2)] == [0, 0, 2]
    monkeypatch.setattr(local, "cuda_devices", lambda: 4)
    assert [workers_for(Machine(), count, None) for count in (None, 1, 8)] == [4, 0, 8]
    monkeypatch.setattr(local, "cuda_devices", lambda: 1)
    assert workers_for(Machine(), None, None) == 0
    assert workers_for(CPU, None, "dask:tcp://localhost:1") == 1
