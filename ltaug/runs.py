"""Run directories: where stages meet. run.json, a lock, digests, events.

A run directory belongs to one stage with one set of options and inputs (its spec). Opening it again with the same spec
resumes or reuses it; another spec is refused, and the difference is named.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from filelock import FileLock, Timeout

from ltaug.errors import LtaugError, MismatchError, RunExistsError, damaged
from ltaug.fields import known_of
from ltaug.files import file_digest, is_half, read_json, remove_halves, require_sealed, sealed, verify_file, write_json
from ltaug.formats import FORMAT, RUN, require_known
from ltaug.machine import Machine
from ltaug.methods import SINKS, TRACKERS
from ltaug.options import STAGES
from ltaug.place import ALONE, Place
from ltaug.shapes import RECORD, require_shape

RUN_FILE = "run.json"
MARKER = "experiment.json"  # says in a directory of several runs which command made it
LOCK_FILE = ".lock"
PATIENCE = 5.0  # seconds of waiting for a lock before that is said
BEFORE_SEALS = {key.rstrip("?") for key in RECORD} - {FORMAT}


@dataclass(frozen=True)
class Event:
    """Progress of a run ("cbdm/seed-0/generator") in units of its stage, or without a total a message, a complete sentence.

    `values` are figures to show beside it (loss, images/s), `picture` is a file. A message that is to be shown `once` comes from
    several runs of a command.
    """

    run: str
    text: str
    step: int = 0
    total: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    once: bool = False
    picture: Path | None = None


Listener = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """A listener that ignores everything."""


class Spec(TypedDict):
    """What a run directory belongs to. Inputs carry digests; a key "path" in one is recorded but not compared, so that runs
    may be moved together.
    """

    stage: str
    seed: int
    options: Mapping[str, Any]
    inputs: Mapping[str, Any]


def differences(first: Any, second: Any, prefix: str = "", *, at: tuple[str, str] = ("before", "now")) -> list[str]:
    """Where two JSON values differ, as 'synthesize.guidance: 0.0 before, 1.0 now'; `at` says where or when each is found."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        found: list[str] = []
        for key in [*first, *(k for k in second if k not in first)]:
            path = f"{prefix}.{key}" if prefix else str(key)
            found += differences(first.get(key), second.get(key), path, at=at)
        return found
    return [] if first == second else [f"{prefix}: {_shortened(first)} {at[0]}, {_shortened(second)} {at[1]}"]


def _shortened(value: Any) -> str:
    """A value for a sentence; of a digest its beginning."""
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else json.dumps(value)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


@dataclass(eq=False)
class Run:
    """An open, locked run directory; make one with `open_run`, or take part in one with `follow_run`.

    `record` is what run.json holds: stage, label, seed, options, inputs, versions, device, status, timings, spent, facts,
    outputs. Of the processes that share the work only the one that leads writes it and has sinks. `counted` is this process's
    processor time up to which the record counts it.
    """

    path: Path
    record: dict[str, Any]
    listener: Listener
    place: Place = ALONE
    sinks: Sequence[Listener] = ()
    counted: float = field(init=False)

    def __post_init__(self) -> None:
        self.counted = time.process_time()

    @property
    def finished(self) -> bool:
        return bool(self.record["status"] == "finished")

    def event(self, text: str, step: int = 0, total: int | None = None, **values: float) -> None:
        """Tell of progress, or a message; figures that are not finite are left out."""
        self.tell(Event(self.record["label"], text, step, total, {k: v for k, v in values.items() if math.isfinite(v)}))

    def tell(self, event: Event) -> None:
        """Tell the listener and, while the run is unfinished, its sinks."""
        for hear in (self.listener, *(() if self.finished else self.sinks)):
            hear(event)

    def timing(self, name: str, seconds: float) -> None:
        """Add to a named timing; an interrupted run adds up over its parts."""
        timings = self.record["timings"]
        timings[name] = round(timings.get(name, 0.0) + seconds, 3)

    def note(self, **facts: Any) -> None:
        """Record facts worth keeping (counts, shortfalls) under `facts`."""
        self.record["facts"].update(_as_json(facts))

    def save(self) -> None:
        """Write the record, with the processor seconds that this process took since the run was opened or last saved.

        A record that an earlier version began has no such count and stays without: its first part is unknown.
        """
        if not self.place.leads:
            return
        before, self.counted = self.counted, time.process_time()
        if "spent" in self.record:
            spent = self.record["spent"]
            spent["processor"] = round(spent["processor"] + self.counted - before, 3)
        _write_record(self.path, self.record)

    def finish(self, outputs: list[str]) -> None:
        """Record the digests of the artefacts that others may read, and mark the run finished."""
        self.record["outputs"] = {name: file_digest(self.path / name) for name in outputs}
        self.record["status"] = "finished"
        self.save()


def follow_run(path: Path, record: dict[str, Any], *, place: Place, **spec: Unpack[Spec]) -> Run:
    """A run as seen by a process that shares the work of the one that has it open: a record to read, no listener.

    Args:
        record: the run's, from the process that leads.

    Raises:
        MismatchError: this process was given other options or found other inputs.
    """
    if changed := "; ".join(differences(_comparable(record), _comparable(_as_json(spec)), at=("there", "here"))):
        raise MismatchError(f"other options or data than rank 0's ({changed}); give all processes the same command and data")
    return Run(path, record, ignore_events, place)


@contextmanager
def open_run(
    path: Path,
    *,
    label: str,
    versions: Mapping[str, str],
    device: Mapping[str, Any],
    listener: Listener = ignore_events,
    log: Sequence[str] = Machine.log,
    track: Sequence[str] = (),
    wait: float = 0.0,
    **spec: Unpack[Spec],
) -> Iterator[Run]:
    """Make, continue or reuse a run directory and hold its lock.

    Args:
        label: what people call this run in progress and reports.
        log: names in methods.SINKS, where events are recorded.
        track: names in methods.TRACKERS, where they go too.
        wait: seconds to wait for another process's lock (a killed parent's workers take a moment to end).

    Raises:
        OptionError: there is no such sink.
        RunExistsError: the directory holds something else, or another process is writing it.
        MismatchError: it is a run of this stage with another spec; every difference is named.
    """
    recorders = [SINKS.find(name) for name in dict.fromkeys(log)] + [TRACKERS.find(name) for name in dict.fromkeys(track)]
    with hold(path, mark=RUN_FILE, otherwise="is not an ltaug run", wait=wait, tell=lambda text: listener(Event(label, text))):
        if (path / RUN_FILE).exists():
            record = read_run(path)
            require_same_spec(path, record, spec)
        else:
            record = {**_as_json(spec), "label": label, "versions": dict(versions), "device": dict(device), "status": "running"}
            record |= {"timings": {}, "spent": {"processor": 0.0}, "facts": {}, "outputs": {}}
            _write_record(path, record)
        sinks = [] if record["status"] == "finished" else [make(path, label) for make in recorders]
        try:
            with ExitStack() as ends:
                for sink in sinks:
                    ends.callback(getattr(sink, "close", lambda: None))
                yield Run(path, record, listener, sinks=sinks)
        except LtaugError:
            # Free a directory in which nothing was made before the mistake, so that the corrected command can use it.
            if all(p.name == RUN_FILE or _is_lock(p) for p in path.iterdir()):
                (path / RUN_FILE).unlink(missing_ok=True)
            raise


@contextmanager
def hold(
    path: Path, *, mark: str, otherwise: str, wait: float = 0.0, tell: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold the lock of a directory that is new, empty, or has the file `mark` that says who made it.

    Args:
        otherwise: what to say of a directory without the mark.
        wait, tell: seconds to wait for another process's lock, and what hears of it.

    Raises:
        RunExistsError: it is a file or somebody else's directory, or another process holds it.
    """
    require_ours(path, mark=mark, otherwise=otherwise)
    path.mkdir(parents=True, exist_ok=True)
    with locked(
        path / LOCK_FILE, f"{path} is being written by another process; wait for it or name another --out", wait=wait, tell=tell
    ):
        remove_halves(path)
        yield


def require_ours(path: Path, *, mark: str, otherwise: str) -> None:
    """Raise RunExistsError unless there is nothing at `path`, or a directory as `hold` takes it."""
    if path.exists() and not path.is_dir():
        raise RunExistsError(f"{path} is a file; name another --out")
    if path.is_dir() and not (path / mark).exists() and not all(_is_lock(p) or is_half(p, mark) for p in path.iterdir()):
        raise RunExistsError(f"{path} exists and {otherwise}; name another --out (nothing was changed)")


@contextmanager
def locked(path: Path, taken: str, *, wait: float = 0.0, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold a lock file; raises RunExistsError with the sentence `taken` if another process holds it for longer than `wait`.

    Where the wait is long, `tell` hears of it.
    """
    lock = FileLock(path)
    try:
        try:
            held = lock.acquire(timeout=min(wait, PATIENCE))
        except Timeout:
            if wait <= PATIENCE:
                raise
            tell(f"Waiting for another process, which is at work in {path.parent}.")
            held = lock.acquire(timeout=wait - PATIENCE)
    except Timeout as error:
        raise RunExistsError(taken) from error
    with held:
        yield


def _is_lock(path: Path) -> bool:
    return path.name.startswith(LOCK_FILE)


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    write_json(path / RUN_FILE, sealed(_as_json(record) | {FORMAT: RUN}))


def require_same_spec(path: Path, record: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """Raise MismatchError, naming every difference, unless the recorded run has this stage, seed, options and inputs."""
    changed = differences(_comparable(record), _comparable(_as_json(spec)))
    if changed:
        shown = "; ".join(changed[:6]) + (f"; and {len(changed) - 6} more" if len(changed) > 6 else "")
        remedy = "name another --out, or delete it to make it anew"
        raise MismatchError(f"{path} was made with other options or inputs ({shown}); {remedy}")


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """What two openings of a run must agree on; an option that an earlier version did not have has its default."""
    options = record.get("options", {})
    whole = {name: known_of(cls, options[name]) for name, cls in STAGES.items() if isinstance(options.get(name), Mapping)}
    record = {**record, "options": {**options, **_as_json(whole)}}
    return {key: _without_paths(record.get(key)) for key in ("stage", "seed", "options", "inputs")}


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_paths(v) for k, v in value.items() if k != "path"}
    return value


def read_run(path: Path, *, stage: str | None = None, finished: bool = False) -> dict[str, Any]:
    """The record in a run directory.

    Raises:
        MismatchError: it is a run of another stage, unfinished where a finished one is needed, or of a newer ltaug.
        CorruptError: run.json is missing or damaged.
    """
    record: dict[str, Any] = read_json(path / RUN_FILE)
    if not isinstance(record, dict) or "stage" not in record:
        raise damaged(f"{path / RUN_FILE} is not an ltaug run's", path)
    # A record of an early version has no seal and is taken as it is, but only with the keys that these have.
    if not record.keys() <= BEFORE_SEALS:
        require_sealed(path / RUN_FILE, record)
    require_known(record, RUN, what=path)
    require_shape(record, RECORD, path / RUN_FILE)
    if stage is not None and record["stage"] != stage:
        raise MismatchError(f"{path} is {_a(record['stage'])} run; {_a(stage)} run is needed here")
    if finished and record["status"] != "finished":
        raise MismatchError(f"{path} is not finished; run its command again to continue it")
    return record


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def verify_outputs(path: Path, outputs: Mapping[str, str], names: Sequence[str] = ()) -> None:
    """Raise CorruptError unless the run's recorded artefacts (all, or those named) have their digests."""
    for name, digest in outputs.items():
        if not names or name in names:
            verify_file(path / name, digest, whole=path)
