"""What every stage does first: load its data, open its run directory, and say what both are in JSON.

`inspect` does no more than that. Importing this loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset, inspect_dataset, load_dataset
from ltaug.data.outside import require_outside
from ltaug.errors import DataError, MismatchError
from ltaug.fields import checked, resolve
from ltaug.machine import Machine
from ltaug.options import STAGES, DatasetOptions
from ltaug.outside import Outside, outside_facts
from ltaug.place import ALONE, Place
from ltaug.records import GeneratorRecord
from ltaug.runs import Event, Listener, Run, ignore_events, open_run, verify_outputs

if TYPE_CHECKING:
    from ltaug.runtime import Runtime

Given = Mapping[str, Any]


class How(TypedDict, total=False):
    """What every stage may be told besides its work.

    machine: where to compute and where data lies [default: Machine()].
    label: what the run is called in progress and reports [default: the name of `out`].
    listener: is told every event.
    wait: seconds to wait for another process's lock on `out` [default: 0].
    """

    machine: Machine
    label: str | None
    listener: Listener
    wait: float


@dataclass(frozen=True)
class Job:
    """One call of a stage: what it is told besides its work, and what every stage does with that."""

    stage: str
    out: Path
    place: Place = ALONE
    machine: Machine = Machine()  # noqa: RUF009
    label: str | None = None
    listener: Listener = ignore_events
    wait: float = 0.0

    @property
    def name(self) -> str:
        return self.label or self.out.name

    def how(self, label: str) -> How:
        """What another stage is told that this one calls."""
        return {"machine": self.machine, "label": label, "listener": self.listener, "wait": self.wait}

    def check(self, given: Given, *, unsettled: Collection[str] = ()) -> None:
        """Refuse what is misspelt, read by nothing or contradictory in the stage's options, before anything is loaded."""
        checked(STAGES[self.stage], given, where=self.stage, unsettled=unsettled)

    def tell(self, text: str, step: int = 0, total: int | None = None, **values: float) -> None:
        self.listener(Event(self.name, text, step, total, values))

    def runtime(self) -> Runtime:
        from ltaug.runtime import make_runtime

        return make_runtime(self.machine.device, threads=self.machine.threads, place=self.place)

    def load(self, dataset: DatasetOptions, seed: int) -> Dataset:
        """The images; raises OptionError where `out` lies among them."""
        require_outside(self.out, dataset.dataset)
        return load_data(dataset, seed, self.machine, self.name, self.listener)

    def load_origin(self, generator: Path) -> tuple[GeneratorRecord, Dataset]:
        """A finished generator's record, and the dataset that it was fitted to, loaded again.

        Raises:
            MismatchError: not a finished fit-generator run, or its training images are no longer what they were.
            CorruptError: run.json is missing or damaged.
        """
        made = GeneratorRecord.read(generator, finished=True)
        data = self.load(made.dataset, made.seed)
        data.train.require_same_classes(made.class_names, what=f"the generator {generator}")
        if data.train.digest != made.train_digest:
            raise MismatchError(f"the training images of {generator} have changed since it was fitted; fit it again")
        return made, data

    def input(self, digest: str, path: Path) -> dict[str, Any]:
        """A run as an input; its path is relative to `out`, so that runs may be moved together."""
        return {"digest": digest, "path": os.path.relpath(path.resolve(), self.out.resolve())}

    @contextmanager
    def open(
        self,
        runtime: Runtime,
        *,
        seed: int,
        options: Given,
        inputs: Given,
        outside: Sequence[Outside] = (),
        processes: int = 1,
        verify: Callable[[Path], None] = lambda path: None,
    ) -> Iterator[Run]:
        """The run directory, opened; a finished run is verified.

        Args:
            outside: the outside weights behind it and its inputs, for the record.
            processes: how many compute this together, for the record.
            verify: what a finished run's digests do not cover; raises CorruptError.

        Raises:
            CorruptError: a finished run has lost or damaged an artefact.
        """
        from ltaug.runtime import versions

        told: dict[str, Any] = {"stage": self.stage, "label": self.name, "seed": seed, "options": options, "inputs": inputs}
        told |= {"listener": self.listener, "wait": self.wait, "log": self.machine.log, "track": self.machine.track}
        device = runtime.describe() | ({"processes": processes} if processes > 1 else {})
        with open_run(self.out, **told, versions=versions(), device=device) as run:
            if run.finished:
                verify_outputs(run.path, run.record["outputs"])
                verify(run.path)
                run.event("Already done.")
            else:
                run.note(**outside_facts(outside))
                self.listener(Event("", _where(device), once=True))
            yield run


def _where(device: Mapping[str, Any]) -> str:
    """A sentence on the device of a run's record."""
    on_gpu, threads, processes = device["type"] == "cuda", device["threads"], device.get("processes", 1)
    parts = [device["name"] if on_gpu else f"the CPU: {threads} thread{'s' * (threads != 1)}", device["precision"]]
    return f"Computing on {', '.join(parts)}{f', {processes} processes' if processes > 1 else ''}."


def dataset_options(dataset: Given) -> DatasetOptions:
    """Which images, and the draw from them, completed by the defaults."""
    return resolve(DatasetOptions, dataset, image_side=0, where="dataset")


def load_data(
    dataset: DatasetOptions, seed: int, machine: Machine, label: str, listener: Listener, *, least_classes: int = 2
) -> Dataset:
    """The images; progress goes to `listener` under `label`.

    Raises:
        DataError: they have fewer classes than `least_classes`.
    """

    def progress(text: str, step: int, total: int) -> None:
        listener(Event(label, text, step, total))

    data = load_dataset(dataset, seed=seed, machine=machine, progress=progress)
    if data.train.num_classes < least_classes:
        one = f"{dataset.dataset} has a single class, {data.train.class_names[0]!r}"
        raise DataError(f"{one}, so there is nothing to classify; give each of two or more classes its own folder or label")
    return data


def inspect(dataset: Given, *, seed: int = 0, machine: Machine = Machine(), listener: Listener = ignore_events) -> dict[str, Any]:  # noqa: B008
    """Counts, groups, imbalance and faults of a dataset as it would be used; `ltaug inspect`."""
    return inspect_dataset(load_data(dataset_options(dataset), seed, machine, "inspect", listener, least_classes=1))


def side_of(images: ImageSet) -> int:
    return max(images.image_shape[1:])


def source_of(images: ImageSet) -> dict[str, Any]:
    return {"digest": images.digest, "source": images.source, "images": len(images)}
