"""What every stage does first: load its data, open its run directory, and say what both are in JSON."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset, load_dataset
from ltaug.distributed.group import Group
from ltaug.fields import resolve
from ltaug.generator.finetune import with_network_of
from ltaug.meeting import join_run
from ltaug.options import DatasetOptions, Machine
from ltaug.place import ALONE, Place
from ltaug.runs import Event, Listener, Run, follow_run, open_run, read_run, verify_outputs
from ltaug.runtime import Runtime, versions

Given = Mapping[str, Any]


def load_data(dataset: Given, seed: int, machine: Machine, label: str, listener: Listener) -> tuple[dict[str, Any], Dataset]:
    """The dataset and its options as JSON for run.json."""
    options = resolve(DatasetOptions, dataset, image_side=0, where="dataset")
    data = load_dataset(
        options,
        seed=seed,
        data_dir=machine.data_dir,
        download=machine.download,
        skip_bad=machine.skip_bad,
        progress=lambda text, step, total: listener(Event(label, text, step, total)),
    )
    return plain(options), data


def continued(source: Path | None, dataset: Given, given: Given, seed: int | None) -> tuple[Given, Given, int]:
    """Dataset options, GeneratorOptions and seed of a fit, completed from the finished run it starts from, if any.

    Raises:
        MismatchError: the source is no finished fit-generator run, or options were given that would be another network.
    """
    if source is None:
        return dataset, given, seed or 0
    made = read_run(source, stage="fit-generator", finished=True)
    options = made["options"]
    network = with_network_of(options["fit-generator"], given, name=str(source))
    return dataset or options["dataset"], network, made["seed"] if seed is None else seed


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
    spec = {"stage": stage, "label": label or out.name, "seed": seed, "options": options, "inputs": inputs}
    shared: dict[str, Any] = {**spec, "listener": listener, "wait": wait, "place": place}
    if not place.leads:
        return join_run(out, **shared)
    device = runtime.describe() | ({"processes": processes} if processes > 1 else {})
    return open_run(out, **shared, versions=versions(), device=device, log=log)


@contextmanager
def open_together(
    group: Group, out: Path, stage: str, *, seed: int, options: Given, inputs: Given, **others: Any
) -> Iterator[Run]:
    """Rank 0 opens the run directory as `open_stage` does, and checks it if it is finished; the others get a view of it.

    Raises:
        MismatchError: this process has other options or data than rank 0.
        CorruptError: see `already_done`.
    """
    spec: dict[str, Any] = {"seed": seed, "options": options, "inputs": inputs}
    if group.place.leads:
        with open_stage(out, stage, **spec, **others, processes=group.place.world) as run:
            already_done(run)
            group.broadcast(run.record)
            yield run
    else:
        yield follow_run(out, group.broadcast({}), stage=stage, place=group.place, **spec)


def already_done(run: Run) -> bool:
    """Whether there is nothing to do; raises CorruptError where a finished run has lost or damaged an artefact."""
    if run.finished:
        verify_outputs(run.path, run.record)
        run.event("Already done.")
    return run.finished


def plain(options: Any) -> dict[str, Any]:
    """Options as JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(options).items()}


def side_of(images: ImageSet) -> int:
    return max(images.image_shape[1:])


def source_of(images: ImageSet) -> dict[str, Any]:
    return {"digest": images.digest, "source": images.source, "images": len(images)}


def relative_to(path: Path, out: Path) -> str:
    """`path` as seen from the run directory `out`, so that runs may be moved together."""
    return os.path.relpath(path.resolve(), out.resolve())
