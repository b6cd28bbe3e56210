"""A month of an experiment in seconds: thousands of stages, on workers that are lost at random."""

from __future__ import annotations

import pickle
import random
import sys
import threading
from collections import Counter
from concurrent.futures import Future
from heapq import heappop, heappush
from pathlib import Path
from queue import SimpleQueue

import pytest

from ltaug.machine import Machine
from ltaug.pipeline.plan import Task
from ltaug.pipeline.run import run_tasks

STAGES, WORKERS = 10_000, 8
STEPS = 3  # of a stage, each with a checkpoint
LOSS = 0.1  # how likely a worker is lost at a step


class Fleet:
    """An engine whose calls go on elsewhere when their worker is lost, from their last checkpoint."""

    def __init__(self, slots: int) -> None:
        self.slots, self.lost, self.most = slots, 0, 0
        self.steps, self.ended, self.too_early = Counter(), Counter(), []
        self._submitted: SimpleQueue = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, task: Task, priority: int) -> Future:
        answer: Future = Future()
        self._submitted.put((-priority, task, answer))
        return answer

    def close(self) -> None:
        self._submitted.put(None)

    def _work(self) -> None:
        chance, waiting, at_work = random.Random(0), [], []
        while True:
            while not self._submitted.empty() or not (waiting or at_work):
                if (call := self._submitted.get()) is None:
                    return
                heappush(waiting, call)
                self.most = max(self.most, len(waiting) + len(at_work))
            while waiting and len(at_work) < WORKERS:
                at_work.append(heappop(waiting))
                self.too_early += [need for need in at_work[-1][1].needs if not self.ended[need]]
            _, task, answer = call = at_work.pop(chance.randrange(len(at_work)))
            if chance.random() < LOSS:
                self.lost += 1
                heappush(waiting, call)
                continue
            self.steps[task.name] += 1
            if self.steps[task.name] % STEPS:
                at_work.append(call)
                continue
            self.ended[task.name] += 1
            answer.set_result(pickle.dumps(task.name))


@pytest.mark.parametrize("slots", [WORKERS, sys.maxsize], ids=["one a worker", "the engine has a queue"])
def test_ten_thousand_stages_on_workers_that_are_lost_are_each_run_once_to_the_end_after_what_they_need(monkeypatch, slots):
    draw, fleet, heard = random.Random(1), Fleet(slots), []
    monkeypatch.setattr("ltaug.pipeline.run.Local", lambda *_, **__: fleet)
    names = [str(number) for number in range(STAGES)]
    drawn = [draw.sample(names[max(0, i - 500) : i], min(i, draw.randrange(4))) for i in range(STAGES)]
    tasks = [Task(name, "stage", {}, tuple(needs), Path("nowhere") / name) for name, needs in zip(names, drawn, strict=True)]
    assert run_tasks(tasks, machine=Machine(device="cpu"), listener=heard.append) == {name: name for name in names}
    assert (set(fleet.ended.values()), fleet.too_early) == ({1}, [])
    assert fleet.lost > STAGES * LOSS
    assert WORKERS <= fleet.most <= slots
    assert [(e.step, e.total) for e in heard if e.text == "stages"] == [(n, STAGES) for n in range(1, STAGES + 1)]
