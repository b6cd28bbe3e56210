"""What every stage does first: load its data, open its run directory, and say what both are in JSON.

Importing this loads no torch: `ltaug inspect` does without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset, load_dataset
from ltaug.errors import MismatchError
from ltaug.fields import resolve
from ltaug.meeting import join_run
from ltaug.options import DatasetOptions, Machine
from ltaug.place import ALONE, Place
from ltaug.records import GeneratorRecord
from ltaug.runs import Event, Listener, Run, open_run, verify_outputs

if TYPE_CHECKING:
    from ltaug.runtime import Runtime

Given = Mapping[str, Any]


def dataset_options(dataset: Given) -> DatasetOptions:
    """Which images, and the draw from them, completed by the defaults."""
    return resolve(DatasetOptions, dataset, image_side=0, where="dataset")


def load_data(dataset: DatasetOptions, seed: int, machine: Machine, label: str, listener: Listener) -> Dataset:
    """The images; progress goes to `listener` under `label`."""
    return load_dataset(
        dataset,
        seed=seed,
        data_dir=machine.data_dir,
        download=machine.download,
        skip_bad=machine.skip_bad,
        progress=lambda text, step, total: listener(Event(label, text, step, total)),
    )


def load_origin(generator: Path, machine: Machine, label: str, listener: Listener) -> tuple[GeneratorRecord, Dataset]:
    """A finished generator's record, and the dataset that it was fitted to, loaded again.

    Raises:
        MismatchError: not a finished fit-generator run, or its training images are no longer what they were.
        CorruptError: run.json is missing or damaged.
    """
    made = GeneratorRecord.read(generator, finished=True)
    data = load_data(made.dataset, made.seed, machine, label, listener)
    data.train.require_same_classes(made.class_names, what=f"the generator {generator}")
    if data.train.digest != made.train_digest:
        raise MismatchError(f"the training images of {generator} have changed since it was fitted; fit it again")
    return made, data


def open_stage(
    out: Path,
    stage: str,
    *,
    label: str | None,
    seed: int,
    options: Given,
    inputs: Given,
    runtime: Runtime,
    listener: Listener,
    log: Sequence[str],
    wait: float,
    place: Place = ALONE,
    processes: int = 1,
) -> AbstractContextManager[Run]:
    """The run directory, opened by the process that leads and joined by the others.

    Args:
        log: names in methods.SINKS.
        processes: how many compute this together, for the record.
    """
    from ltaug.runtime import versions

    spec = {"stage": stage, "label": label or out.name, "seed": seed, "options": options, "inputs": inputs}
    shared: dict[str, Any] = {**spec, "listener": listener, "wait": wait, "place": place}
    if not place.leads:
        return join_run(out, **shared)
    device = runtime.describe() | ({"processes": processes} if processes > 1 else {})
    return open_run(out, **shared, versions=versions(), device=device, log=log)


def already_done(run: Run) -> bool:
    """Whether there is nothing to do; raises CorruptError where a finished run has lost or damaged an artefact."""
    if run.finished:
        verify_outputs(run.path, run.record["outputs"])
        run.event("Already done.")
    return run.finished


def side_of(images: ImageSet) -> int:
    return max(images.image_shape[1:])


def source_of(images: ImageSet) -> dict[str, Any]:
    return {"digest": images.digest, "source": images.source, "images": len(images)}


def relative_to(path: Path, out: Path) -> str:
    """`path` as seen from the run directory `out`, so that runs may be moved together."""
    return os.path.relpath(path.resolve(), out.resolve())
