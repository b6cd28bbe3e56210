"""What a finished generator was fitted to: its record, and the very images, loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltaug.data.load import Dataset
from ltaug.errors import MismatchError
from ltaug.options import Machine
from ltaug.runs import Listener, read_run
from ltaug.stages.opening import load_data


def load_origin(
    generator: Path, machine: Machine, label: str, listener: Listener
) -> tuple[dict[str, Any], dict[str, Any], Dataset]:
    """The generator's run.json, its dataset options as JSON, and that dataset.

    Raises:
        MismatchError: not a finished fit-generator run, or its training images are no longer what they were.
        CorruptError: run.json is missing or damaged.
    """
    made = read_run(generator, stage="fit-generator", finished=True)
    options, data = load_data(made["options"]["dataset"], made["seed"], machine, label, listener)
    data.train.require_same_classes(tuple(made["facts"]["class_names"]), what=f"the generator {generator}")
    if data.train.digest != made["inputs"]["train"]["digest"]:
        raise MismatchError(f"the training images of {generator} have changed since it was fitted; fit it again")
    return made, options, data
