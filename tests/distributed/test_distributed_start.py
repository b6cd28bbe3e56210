"""Processes that are started again meet those of their own start, whatever earlier ones left in the launcher's store."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import torch.distributed as dist
from waiting import LONG

from ltaug.distributed.connections import store_of_start
from ltaug.place import Place


def started(store, world=3):
    """What each process of one start gets."""
    found = {}

    def process(rank):
        found[rank] = store_of_start(store, Place(rank, world, rank), patience=timedelta(seconds=LONG))

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    return [found[rank] for rank in range(world)]


def test_a_second_start_shares_a_store_in_which_nothing_of_the_first_is_left():
    launcher = dist.HashStore()
    launcher.set_timeout(timedelta(seconds=LONG))
    first = started(launcher)
    first[1].set("address", "of a process that is no more")
    second = started(launcher)
    assert not any(store.check(["address"]) for store in second)
    second[0].set("address", "new")
    assert [store.get("address") for store in second] == [b"new"] * 3


def test_it_says_how_many_did_not_join():
    with pytest.raises(RuntimeError, match="2 of 3 did not join"):
        store_of_start(dist.HashStore(), Place(0, 3), patience=timedelta(seconds=0.1))
