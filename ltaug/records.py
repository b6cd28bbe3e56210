"""Runs as typed records: what a generator, a synthesis, an evaluation or a classifier was made from, with and by.

`runs` writes run.json; here it is read. An option that an older version did not record has its default. A record follows its
inputs to the runs that made them and gets None where they no longer lie there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, final

from ltaug.errors import CorruptError, MismatchError, OptionError, damaged
from ltaug.fields import check
from ltaug.files import read_json, sealed, verify_file, verify_json
from ltaug.formats import REPORT, require_known
from ltaug.options import (
    EVERYWHERE,
    STAGES,
    ClassifierOptions,
    DatasetOptions,
    EvaluationOptions,
    GeneratorOptions,
    SynthesisOptions,
)
from ltaug.outside import Outside, read_outside
from ltaug.runs import RUN_FILE, read_run, verify_outputs
from ltaug.shapes import EVALUATION_METRICS, require_shape

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Files of a run that others than its stage read.
METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.npz"
MANIFEST_FILE = "manifest.csv"
HELD_OUT_FILE = "held-out.npz"  # of a cross-fit run: index, labels and predicted, one each for a held-out training image
PAIRS_SHEET = "closest-pairs.png"
REPORT_FILE = "report.json"
UNSEALED = (1, 2)  # schemas of it that have no digests

Json = dict[str, Any]
Options = TypeVar("Options", bound="DataclassInstance")
Record = TypeVar("Record", bound="RunRecord")


@dataclass(frozen=True)
class RunInput:
    """A run that another one took: SHA-256 of what was taken, where it lay if that is known, training steps if recorded."""

    digest: str
    path: Path | None
    steps: int = 0

    def open(self, cls: type[Record]) -> Record | None:
        """The run's record, where it still lies there."""
        if self.path is None or not (self.path / RUN_FILE).is_file():
            return None
        return cls.read(self.path.resolve())


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What the records of all four stages hold: `train_*` of the real training images, seconds by part of the work as
    `timings`, and as `outputs` the SHA-256 of the files that others may read.

    `processor` are the processor seconds of all threads of the process that led the work, None in runs of earlier versions.
    Like `timings` they add up over interruptions, without what a killed process took after it last saved the run. `outside` are
    the outside weights that it was made with, also by way of the runs that it took.

    Abstract: a stage's record is final and adds fields, which `_found` fills by their names, and questions about them.
    """

    stage: ClassVar[str]
    path: Path
    label: str
    seed: int
    finished: bool
    dataset: DatasetOptions
    train_source: str
    train_digest: str
    timings: Mapping[str, float]
    processor: float | None
    versions: Mapping[str, str]
    device: Json
    outputs: Mapping[str, str]
    outside: tuple[Outside, ...]

    @classmethod
    def read(cls, path: Path, *, finished: bool = False) -> Self:
        """The record in a run directory.

        Raises:
            MismatchError: another stage's run, not finished where that is needed, or with options this version does not know.
            CorruptError: run.json is missing or damaged.
        """
        return cls.of(path, read_run(path, stage=cls.stage, finished=finished))

    @classmethod
    def of(cls, path: Path, record: Json) -> Self:
        """The record, given what `read_run` found at `path`."""
        found = _found(cls.stage, path, record)
        return cls(**{f.name: found[f.name] for f in fields(cls)})

    def verify(self, *names: str) -> None:
        """Raise CorruptError unless these files (or all) are as the run left them."""
        verify_outputs(self.path, self.outputs, names)


@final
@dataclass(frozen=True, kw_only=True)
class GeneratorRecord(RunRecord):
    """A fit-generator run: its training images and the number of its network's parameters are empty until it trains.

    `source_run` is the generator it was started from, `judge_runs` are the judges that its objective asked, and `pipeline_folder`
    is the published pipeline of which it has a network or an autoencoder.
    """

    stage: ClassVar[str] = "fit-generator"
    options: GeneratorOptions
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    image_shape: tuple[int, ...]
    parameters: int | None
    source_run: RunInput | None
    judge_runs: tuple[RunInput, ...]
    pipeline_folder: RunInput | None

    @property
    def steps_before(self) -> int:
        """Training steps behind the generator it was started from, 0 without one."""
        return 0 if self.source_run is None else self.source_run.steps

    @property
    def steps(self) -> int:
        """Training steps behind the weights, with those of the generators it came from."""
        return self.options.steps + self.steps_before

    def source(self) -> GeneratorRecord | None:
        """The generator it was started from, where it still lies there."""
        return None if self.source_run is None else self.source_run.open(GeneratorRecord)

    def judges(self) -> list[ClassifierRecord | None]:
        """The judges that its objective asked, each where it still lies there."""
        return [run.open(ClassifierRecord) for run in self.judge_runs]

    def lineage(self) -> Iterator[GeneratorRecord]:
        """This generator, the one it was started from, and so on, as far as they still lie there."""
        record: GeneratorRecord | None = self
        while record is not None:
            yield record
            record = record.source()


@final
@dataclass(frozen=True, kw_only=True)
class SynthesisRecord(RunRecord):
    """A synthesize run: images by class, and candidates rejected by reason; empty until it is finished.

    `real_nearest` holds quantiles of the distances from real images to their nearest other one.
    """

    stage: ClassVar[str] = "synthesize"
    options: SynthesisOptions
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    wanted: Mapping[str, int]
    kept: Mapping[str, int]
    candidates: Mapping[str, int]
    rejected: Mapping[str, int]
    shortfall: Mapping[str, int]
    real_nearest: Mapping[str, float]
    generator_run: RunInput
    judge_runs: tuple[RunInput, ...]

    def generator(self) -> GeneratorRecord | None:
        """The generator that was sampled from, where it still lies there."""
        return self.generator_run.open(GeneratorRecord)

    def judges(self) -> list[ClassifierRecord | None]:
        """The classifiers that judged its candidates, each where it still lies there."""
        return [run.open(ClassifierRecord) for run in self.judge_runs]


@final
@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(RunRecord):
    """An evaluate-generator run; `arm` is what the generator is called in a report, and may be empty."""

    stage: ClassVar[str] = "evaluate-generator"
    arm: str
    options: EvaluationOptions
    generator_run: RunInput

    def generator(self) -> GeneratorRecord | None:
        """The generator that was evaluated, where it still lies there."""
        return self.generator_run.open(GeneratorRecord)

    def metrics(self) -> Json:
        """What metrics.json holds; its provenance says what was measured and how.

        Raises:
            CorruptError: metrics.json is missing or damaged, or something is missing from it.
        """
        self.verify(METRICS_FILE)
        found: Json = read_json(self.path / METRICS_FILE)
        require_shape(found, EVALUATION_METRICS, self.path / METRICS_FILE)
        if not self.generator_run.digest:
            raise damaged(f"{self.path} is an evaluation without generator's digest", "it")
        # The first runs do not record the interval: they guided everywhere.
        return found | {"provenance": {"guidance_interval": list(EVERYWHERE), **found["provenance"]}}


@final
@dataclass(frozen=True, kw_only=True)
class ClassifierRecord(RunRecord):
    """A train-classifier run; `arm` and `about` are what a report calls it and says of it, and may be empty.

    Reports leave out a `judge`, which serves others as a judge or an extractor. `synthetic_*` are the synthetic training
    images of every class, if any, and where they came from; `synthetic_origin` is "synthesize" for a run's, and how they were
    given for others, of which no more is known: "folder", "npz" or "shards". `resampled_counts` are the real images of every
    class that were drawn again in place of synthetic ones, if any. `overlap` says how near synthetic images come to real ones
    (metrics.overlap), `duplicates` counts equal real images and `dataset_notes` are its `source_notes` (data.load); all are
    empty in early runs. `steps` were trained, 0 where unknown; `groups` holds class indices by group.
    """

    stage: ClassVar[str] = "train-classifier"
    arm: str
    about: str
    judge: bool
    options: ClassifierOptions
    draw_seed: int
    test_digest: str
    class_counts: tuple[int, ...]
    synthetic_counts: tuple[int, ...] | None
    resampled_counts: tuple[int, ...] | None
    steps: int
    groups: Mapping[str, list[int]]
    synthetic_run: RunInput | None
    synthetic_origin: str
    teacher_runs: tuple[RunInput, ...]
    overlap: Json
    duplicates: Mapping[str, int]
    dataset_notes: tuple[str, ...]

    @property
    def start(self) -> tuple[str, ...]:
        """SHA-256 of the outside weights' files that the classifier itself started from, empty where it started from none."""
        return tuple(sorted(digest for one in self.outside if one.role == "classifier" for digest in one.files.values()))

    def synthesis(self) -> SynthesisRecord | None:
        """The synthesis that was added, where it still lies there."""
        return None if self.synthetic_run is None else self.synthetic_run.open(SynthesisRecord)

    def teachers(self) -> list[ClassifierRecord | None]:
        """The classifiers that it was distilled from, each where it still lies there."""
        return [run.open(ClassifierRecord) for run in self.teacher_runs]


def _found(stage: str, path: Path, record: Json) -> Json:
    """Every field of every record by its name, as far as the run at `path` has it."""
    facts, told, inputs = record["facts"], record["options"], record["inputs"]
    train, added = inputs.get("train") or {}, inputs.get("synthetic") or {}
    mappings = ("wanted", "kept", "candidates", "rejected", "shortfall", "real_nearest", "groups", "overlap", "duplicates")
    options: Any = _options(STAGES[stage], record, stage, path)
    counts_of = {key: facts.get(key) for key in ("synthetic_counts", "resampled_counts")}
    return {
        "path": path,
        "label": record.get("label", path.name),
        "finished": record["status"] == "finished",
        **{key: record[key] for key in ("seed", "timings", "versions", "device", "outputs")},
        "processor": record.get("spent", {}).get("processor"),
        "dataset": _options(DatasetOptions, record, "dataset", path),
        "options": options,
        "arm": told.get("arm") or "",
        "about": told.get("about") or "",
        "judge": bool(told.get("judge")),
        "train_source": train.get("source", ""),
        "train_digest": train.get("digest", ""),
        "draw_seed": train.get("draw_seed", record["seed"]),
        "test_digest": (inputs.get("test") or {}).get("digest", ""),
        **{key: tuple(facts.get(key, ())) for key in ("class_names", "class_counts", "image_shape", "dataset_notes")},
        **{key: facts.get(key) or {} for key in mappings},
        "outside": read_outside(facts, inputs),
        "parameters": facts.get("parameters"),
        **{key: None if counts is None else tuple(counts) for key, counts in counts_of.items()},
        "steps": facts.get("steps", getattr(options, "steps", None)) or 0,
        "source_run": _run(path, inputs.get("source")),
        "pipeline_folder": _run(path, inputs.get("pipeline")),
        "generator_run": _run(path, inputs.get("generator")) or RunInput("", None),
        "judge_runs": tuple(run for given in inputs.get("judges") or () if (run := _run(path, given))),
        "teacher_runs": tuple(run for given in inputs.get("teachers") or () if (run := _run(path, given))),
        "synthetic_run": _run(path, added),
        "synthetic_origin": added.get("origin", "synthesize") if added else "",
    }


def _options(cls: type[Options], record: Json, table: str, path: Path) -> Options:
    """A table of options as it was recorded; JSON has lists where they have tuples."""
    recorded = record["options"].get(table, {})
    unknown = [key for key in recorded if key not in cls.__dataclass_fields__]
    if unknown:
        raise MismatchError(f"{path} has options unknown to this version ({', '.join(unknown)}); use the ltaug that made it")
    # What a file or another machine may decide, such as --per-class-budget, was checked when it was given.
    settled = {key: value for key, value in recorded.items() if not cls.__dataclass_fields__[key].metadata["check"]}
    try:
        return cls(**(recorded | check(cls, settled, where=str(path))))
    except OptionError as error:
        raise MismatchError(f"{error}; use the ltaug that made it") from error


def _run(path: Path, given: Json | None) -> RunInput | None:
    """A run that the run at `path` took; its recorded path is relative to that."""
    if not given:
        return None
    lies = given.get("path")
    return RunInput(given.get("digest") or "", path / lies if lies else None, given.get("steps", 0))


def verify_report(path: Path) -> None:
    """Compare the report in a directory with its digests, which those of early versions do not have.

    Raises:
        CorruptError: it is damaged or was edited.
        MismatchError: a newer ltaug wrote it.
    """
    verify_json(path / REPORT_FILE)
    found = read_json(path / REPORT_FILE)
    digests = found.get("files", {} if found.get("schema") in UNSEALED else None)
    if digests is None or (digests and found != sealed(found)):
        raise CorruptError(f"{path / REPORT_FILE} is damaged or was edited; write the report again")
    require_known(found, REPORT, what=path)
    for name, digest in digests.items():
        verify_file(path / name, digest, whole=path)
