"""Where the processes of one start meet, undisturbed by what those of an earlier one left behind.

torchrun hands the processes that it restarts the store of those before, with the addresses of processes that are no more, and
its count of restarts differs between machines (https://github.com/pytorch/pytorch/issues/135712).
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from ltaug.place import Place

POLL = 0.02  # seconds


def store_of_start(store: Store, place: Place, *, patience: timedelta) -> Store:
    """A part of the launcher's store that nobody wrote to before.

    Every process shows a token that no earlier one had; rank 0 answers what tokens it sees until all have its answer.

    Raises:
        RuntimeError: some do not come.
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
            raise RuntimeError(f"{len(awaited)} did not come")
        time.sleep(POLL)
    return PrefixStore(name, store)
