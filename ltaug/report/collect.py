"""Find classifier runs, check that they belong together, and line them up as arms by seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltaug.errors import MismatchError, OptionError, damaged, nearest
from ltaug.files import read_json
from ltaug.records import METRICS_FILE, PREDICTIONS_FILE, ClassifierRecord, GeneratorRecord, SynthesisRecord
from ltaug.runs import RUN_FILE, differences, read_run
from ltaug.shapes import CLASSIFIER_METRICS, require_shape

# The only metrics the report names; whatever else a run measured is carried along under its own key.
HEADLINE = {
    "macro_recall": "Macro recall",
    "macro_precision": "Macro precision",
    "macro_f1": "Macro F1",
    "recall/few": "Few-shot recall",
}
PRIMARY = ("macro_recall", "macro_precision")


@dataclass(frozen=True)
class Result:
    """One finished classifier run and what its metrics.json holds."""

    record: ClassifierRecord
    metrics: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.record.path

    @property
    def arm(self) -> str:
        return self.record.arm or self.record.label.split("/seed-")[0]

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def summary(self) -> dict[str, float]:
        return {key: float(value) for key, value in self.metrics["summary"].items() if value is not None}

    @property
    def brought(self) -> bool:
        """Whether its synthetic images are not of a synthesize run, so that nothing is known of how they were made."""
        return self.record.synthetic_origin not in ("", SynthesisRecord.stage)

    @cached_property
    def synthesis(self) -> SynthesisRecord | None:
        """The synthesis run it was given, where it still lies there."""
        return self.record.synthesis()

    @cached_property
    def generator(self) -> GeneratorRecord | None:
        """The generator of those images, where it still lies there."""
        return None if self.synthesis is None else self.synthesis.generator()

    @property
    def records(self) -> list[GeneratorRecord | SynthesisRecord | ClassifierRecord]:
        """What is behind the run, in the order of the stages."""
        return [record for record in (self.generator, self.synthesis, self.record) if record is not None]


@dataclass(frozen=True)
class Experiment:
    """Arms by seeds over one dataset: arm -> seed -> run, in the order in which the arms were found.

    `skipped` are the labels of runs that are not finished and are left out.
    """

    results: Mapping[str, Mapping[int, Result]]
    class_names: tuple[str, ...]
    baseline: str
    skipped: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for runs in self.results.values() for seed in runs}))

    @property
    def runs(self) -> list[Result]:
        return [result for by_seed in self.results.values() for result in by_seed.values()]

    def synthetic(self, arm: str) -> bool:
        """Whether the arm was trained with synthetic images."""
        return any(result.record.synthetic_run for result in self.results[arm].values())

    def first(self, arm: str) -> Result:
        """The arm's run with the smallest seed."""
        return self.results[arm][min(self.results[arm])]


def collect(runs: Sequence[Path], *, baseline: str | None = None) -> Experiment:
    """The experiment that the classifier runs under `runs` make up.

    Args:
        runs: directories, searched with everything below them.
        baseline: the arm to compare with [default: "real", or else the first arm without synthetic or resampled images; of those
            whose classifiers start from the same weights as an arm with synthetic images, if there are any].

    Raises:
        OptionError: a directory that does not exist, no finished classifier run, an unknown baseline.
        MismatchError: runs that cannot be compared: other classes, another test set, another real training set at the
            same seed, one arm with two settings, one seed of an arm twice.
        CorruptError: a damaged run.
    """
    results: dict[str, dict[int, Result]] = {}
    skipped: list[str] = []
    for path in run_directories(runs):
        found = read_run(path)
        record = ClassifierRecord.of(path, found) if found["stage"] == ClassifierRecord.stage else None
        if record is None or record.judge:
            continue
        if not record.finished:
            skipped.append(record.label)
            continue
        result = _read_result(record)
        earlier = results.setdefault(result.arm, {}).setdefault(result.seed, result)
        if earlier is not result:
            both = f"{earlier.path} and {path} are both {result.arm!r} at seed {result.seed}"
            raise MismatchError(f"{both}; give only one, if need be by naming the directories of single arms")
    if not results:
        unfinished = f" ({len(skipped)} unfinished: {', '.join(skipped[:3])})" if skipped else ""
        raise OptionError(
            f"no finished classifier run in {', '.join(map(str, runs))}{unfinished}; run `ltaug train-classifier` or `ltaug run` "
            "first (evaluations of generators are reported with the classifiers their images train)"
        )
    if baseline is not None and baseline not in results:
        raise OptionError(f"--baseline {baseline!r} is not an arm of these runs; {nearest(baseline, results)}")
    every = [result for by_seed in results.values() for result in by_seed.values()]
    _require_comparable(every)
    added = {result.arm for result in every if result.record.synthetic_run or result.record.resampled_counts}
    starts = {arm: next(iter(by_seed.values())).record.start for arm, by_seed in results.items()}
    made = {starts[result.arm] for result in every if result.record.synthetic_run}
    without = [arm for arm in results if arm not in added]
    without = [arm for arm in without if starts[arm] in made] or without
    default = "real" if "real" in without else (without or list(results))[0]
    return Experiment(results, tuple(map(str, every[0].metrics["class_names"])), baseline or default, tuple(skipped))


def run_directories(runs: Sequence[Path]) -> list[Path]:
    """Every run directory at or below `runs`, each once; raises OptionError for what is not a directory."""
    found: dict[Path, None] = {}  # a dict keeps the order and drops what is reached twice
    for root in runs:
        if not root.is_dir():
            raise OptionError(f"{root} is not a directory; give the directories of classifier runs")
        found.update(dict.fromkeys(p.parent.resolve() for p in sorted(root.rglob(RUN_FILE))))
    return list(found)


def _read_result(record: ClassifierRecord) -> Result:
    path = record.path
    record.verify(METRICS_FILE, PREDICTIONS_FILE)
    metrics = read_json(path / METRICS_FILE)
    require_shape(metrics, CLASSIFIER_METRICS, path / METRICS_FILE)
    if missing := [k for k in PRIMARY if metrics["summary"].get(k) is None]:
        raise damaged(f"{path / METRICS_FILE} has no {', '.join(missing)}", path)
    counted = {key: getattr(record, key) or () for key in ("class_counts", "synthetic_counts", "resampled_counts")}
    rows = {"confusion": metrics["confusion"]} | {f"confusion.{k}": row for k, row in enumerate(metrics["confusion"])}
    whole = {key: counts for key, counts in counted.items() if counts} | metrics["per_class"] | rows
    if wrong := [key for key, values in whole.items() if len(values) != len(metrics["class_names"])]:
        raise damaged(f"{path}: {wrong[0]} has not a value for each class", path)
    return Result(record, metrics)


def _require_comparable(results: Sequence[Result]) -> None:
    first = results[0]
    at_seed: dict[int, Result] = {}
    of_arm: dict[str, Result] = {}
    for result in results:
        if list(result.metrics["class_names"]) != list(first.metrics["class_names"]):
            raise MismatchError(f"{result.path} and {first.path} have different classes; report on runs of one dataset at a time")
        if result.record.test_digest != first.record.test_digest:
            raise MismatchError(f"{result.path} and {first.path} were tested on different images; give runs with one test set")
        other = at_seed.setdefault(result.seed, result)
        if result.record.train_digest != other.record.train_digest:
            raise MismatchError(
                f"{result.path} and {other.path} share seed {result.seed} but not their real training images, so they are "
                "not paired; train the arms of one seed on the same draw"
            )
        same_arm = of_arm.setdefault(result.arm, result)
        changed = differences(_settings(same_arm.record), _settings(result.record))
        if changed:
            raise MismatchError(
                f"arm {result.arm!r} has different settings at seeds {same_arm.seed} and {result.seed} "
                f"({'; '.join(changed[:3])}); give the arms different names"
            )


def _settings(record: ClassifierRecord) -> dict[str, Any]:
    """What is the same at every seed of an arm."""
    return {"about": record.about, "dataset": asdict(record.dataset), record.stage: trained(record)}


def trained(record: ClassifierRecord) -> dict[str, Any]:
    """The options that it was trained with; published weights are told by their content."""
    return asdict(record.options) | {"pretrained": list(record.start)}
