"""inspect."""

from __future__ import annotations

from typing import Any

from ltaug.data.load import inspect_dataset
from ltaug.options import Machine
from ltaug.runs import Listener, ignore_events
from ltaug.stages.opening import Given, dataset_options, load_data


def inspect(dataset: Given, *, seed: int = 0, machine: Machine = Machine(), listener: Listener = ignore_events) -> dict[str, Any]:  # noqa: B008
    """Counts, groups, imbalance and faults of a dataset as it would be used; `ltaug inspect`."""
    return inspect_dataset(load_data(dataset_options(dataset), seed, machine, "inspect", listener))
