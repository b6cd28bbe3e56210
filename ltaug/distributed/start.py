"""A part of the launcher's store for each start of a group, without what earlier starts left there.

torchrun gives restarted processes the same store as before, with the addresses of processes that no longer exist, and its
count of restarts differs between machines (https://github.com/pytorch/pytorch/issues/135712).
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from ltaug.place import Place

POLL = 0.02  # seconds


def store_of_start(store: Store, place: Place, *, patience: timedelta) -> Store:
    """A part of the launcher's store that nothing has been written to.

    Every other process publishes a new token; rank 0 answers each token it sees until all processes have its answer.

    Raises:
        RuntimeError: some processes do not join in time.
    """
    if not place.leads:
        token = uuid.uuid4().hex
        store.set(f"here/{place.rank}", token)
        name = store.get(f"answer/{token}").decode()
        store.set(f"{name}/come/{place.rank}", "")
        return PrefixStore(name, store)
    name, awaited = uuid.uuid4().hex, set(range(1, place.world))
    deadline = time.monotonic() + patience.total_seconds()
    while awaited:
        for rank in sorted(awaited):
            if store.check([f"{name}/come/{rank}"]):
                awaited.discard(rank)
            elif store.check([f"here/{rank}"]):
                store.set(f"answer/{store.get(f'here/{rank}').decode()}", name)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(awaited)} of {place.world} did not join")
        time.sleep(POLL)
    return PrefixStore(name, store)
