"""Experiment trackers as sinks: figures and pictures by step, at the end what was measured, and the report.

methods.TRACKERS names them. A tracker is begun with a run's first figures or picture, and begun again where the run is continued.
Which server, project or account it writes to is its own configuration (WANDB_PROJECT, MLFLOW_TRACKING_URI, ...). All of it goes
through run objects, never through a tracker's global one, as a stage may open a run while another one is open.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import Context
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from ltaug.errors import LtaugError, resource_error
from ltaug.files import read_json, write_bytes
from ltaug.records import METRICS_FILE
from ltaug.runs import Event

PROJECT = "ltaug"
REPORT = "report.html"
PREVIEW = "preview"


@dataclass(frozen=True)
class Tracker:
    """A run as a tracker has it: what takes figures of a step, a picture of a step, and a file, and what ends it."""

    figures: Callable[[Mapping[str, float], int], object]
    picture: Callable[[Path, int], object]
    file: Callable[[Path], object]
    end: Callable[[], object]


Begin = Callable[[Path, str], Tracker]  # of a run directory and its label


class Tracked:
    """A sink of one tracker, or one that is told of a directory's results alone, by `close`."""

    def __init__(self, begin: Begin, run: Path, label: str) -> None:
        self._begin, self._run, self._label = begin, run, label
        self._step = 0

    @cached_property
    def _tracker(self) -> Tracker:
        return self._begin(self._run, self._label)

    def __call__(self, event: Event) -> None:
        if event.values:
            self._step = event.step
            with _named(self._begin):
                self._tracker.figures(event.values, event.step)
        if event.picture:
            with _named(self._begin):
                self._tracker.picture(event.picture, event.step)

    def close(self) -> None:
        """Hand over the figures and the report that lie in the directory, if any, and end the tracker's run.

        Raises:
            LtaugError: the tracker refuses.
        """
        measured = _measured(self._run / METRICS_FILE)
        with _named(self._begin):
            if measured:
                self._tracker.figures(measured, self._step)
            if (self._run / REPORT).is_file():
                self._tracker.file(self._run / REPORT)
            if "_tracker" in self.__dict__:
                self._tracker.end()


def _sink(begin: Begin) -> Callable[[Path, str], Tracked]:
    return partial(Tracked, begin)


@_sink
def tensorboard(run: Path, label: str) -> Tracker:
    """Event files in the run directory; a report is its text."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(run / "tensorboard")

    def figures(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def picture(path: Path, step: int) -> None:
        writer.add_image(PREVIEW, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")

    def file(path: Path) -> None:
        writer.add_text(path.stem, path.with_suffix(".md").read_text(encoding="utf-8"))

    return Tracker(figures, picture, file, writer.close)


@_sink
def wandb(run: Path, label: str) -> Tracker:
    """Weights & Biases; offline with WANDB_MODE=offline."""
    import wandb

    made = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=label,
        id=_remembered(run / "wandb.id", _new_id),
        resume="allow",
        reinit="create_new",
        dir=run,
        settings=wandb.Settings(console="off"),
    )
    # A continued fit repeats steps, which W&B's own steps must not.
    made.define_metric("*", step_metric="step")

    def figures(values: Mapping[str, object], step: int) -> None:
        made.log({**values, "step": step})

    def picture(path: Path, step: int) -> None:
        figures({PREVIEW: wandb.Image(str(path))}, step)

    return Tracker(figures, picture, partial(_log_artifact, made), made.finish)


@_sink
def trackio(run: Path, label: str) -> Tracker:
    """Trackio, on this machine unless its own settings name a server or a Space."""
    import trackio

    name = f"{label} {_remembered(run / 'trackio.id', _new_id)}"
    # In a context of its own it does not find, and so does not finish, the run of a stage that waits for this one.
    made = Context().run(trackio.init, PROJECT, name=name, resume="allow")

    def figures(values: Mapping[str, object], step: int) -> None:
        made.log(dict(values), step=step)

    def picture(path: Path, step: int) -> None:
        figures({PREVIEW: trackio.Image(str(path))}, step)

    return Tracker(figures, picture, partial(_log_artifact, made), made.finish)


@_sink
def mlflow(run: Path, label: str) -> Tracker:
    """MLflow, at MLFLOW_TRACKING_URI."""
    from mlflow import MlflowClient, set_experiment

    client = MlflowClient()

    def new() -> str:
        experiment = set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        return str(client.create_run(experiment.experiment_id, run_name=label).info.run_id)

    made = _remembered(run / "mlflow.id", new)

    def figures(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():  # its file store takes "fid/many" for a file in a directory "fid"
            client.log_metric(made, re.sub(r"[^\w\-. :]", "_", name.replace("/", ".")), value, step=step)

    def file(path: Path) -> None:
        client.log_artifact(made, path)

    return Tracker(figures, lambda path, step: file(path), file, lambda: client.set_terminated(made))


def _log_artifact(made: object, path: Path) -> None:
    made.log_artifact(path, name=path.stem, type=path.stem)  # type: ignore[attr-defined]


def _remembered(file: Path, new: Callable[[], str]) -> str:
    """The tracker's name for this run: as the file has it, or a new one."""
    if not file.is_file():
        write_bytes(file, new().encode())
    return file.read_text()


def _new_id() -> str:
    return secrets.token_hex(8)


def _measured(path: Path) -> dict[str, float]:
    """What a finished classifier or evaluation measured: its summary, and the recall of every class that has test images."""
    if not path.is_file():
        return {}
    found = read_json(path)
    each = found.get("per_class", {})
    recall = zip(found.get("class_names", ()), each.get("recall", ()), each.get("support", ()), strict=False)
    values = found["summary"] | {f"class recall/{name}": value for name, value, support in recall if support}
    return {name: float(value) for name, value in values.items() if value is not None}


@contextmanager
def _named(begin: Begin) -> Iterator[None]:
    """Say which tracker an error comes from, and keep what it prints off stdout, where results go."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # the trackers' have no common ancestor
        if resource_error(error) is not None:
            raise
        what = f"--track {begin.__name__}: {type(error).__name__}: {error}"
        raise LtaugError(f"{what}; set it up, or leave it out, and rerun the command to resume") from error
