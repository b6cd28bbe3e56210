"""How the arms were made: settings and where they differ, what selection kept, on which machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ltaug.records import ClassifierRecord, GeneratorRecord, SynthesisRecord
from ltaug.report.collect import Result

STAGES = (GeneratorRecord.stage, SynthesisRecord.stage, ClassifierRecord.stage)


@dataclass(frozen=True)
class Settings:
    """Options of the stages: those all arms share, and those in which they differ (arm -> value, absent where unused)."""

    shared: Mapping[str, Any]
    differing: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Selection:
    """What became of an arm's generated images, summed over seeds."""

    arm: str
    seeds: int
    wanted: int
    candidates: int
    kept: int
    rejected: Mapping[str, int]
    shortfall: int


@dataclass(frozen=True)
class Origin:
    """What is needed to make the same numbers again: seeds, digests, versions, machines; several values where runs differ."""

    seeds: tuple[int, ...]
    test_digest: str
    train_digests: Mapping[int, str]
    synthetic_digests: Mapping[str, Mapping[int, str]]
    versions: Mapping[str, tuple[str, ...]]
    devices: tuple[str, ...]


Runs = Mapping[str, Sequence[Result]]  # arm -> its runs in the order of seeds


def settings(runs: Runs) -> Settings:
    """Every option of every stage, split by whether the arms that have it agree."""
    found: dict[str, dict[str, Any]] = {}
    generators = {arm: of_arm[0].generator for arm, of_arm in runs.items()}
    for arm, of_arm in runs.items():
        tables = {"dataset": asdict(of_arm[0].record.dataset)}
        tables |= {record.stage: asdict(record.options) for record in of_arm[0].records}
        for table, options in tables.items():
            for key, value in options.items():
                found.setdefault(f"{table}: {key}", {})[arm] = value
    for arm, generator in generators.items():
        if generator is not None and generator.parameters is not None:
            found.setdefault("fit-generator: parameters of the network", {})[arm] = generator.parameters
    before = {arm: generator.steps_before for arm, generator in generators.items() if generator is not None}
    if any(before.values()):
        found["fit-generator: steps of the generator it starts from"] = before
    shared: dict[str, Any] = {}
    differing: dict[str, dict[str, Any]] = {}
    for key in sorted(found, key=lambda key: ["dataset", *STAGES].index(key.split(":")[0])):
        first, *others = found[key].values()
        if all(value == first for value in others):
            shared[key] = first
        else:
            differing[key] = found[key]
    return Settings(shared, differing)


def selections(runs: Runs) -> tuple[Selection, ...]:
    """For every arm with a synthesis run, what was generated and kept."""
    rows = []
    for arm, of_arm in runs.items():
        made = [run.synthesis for run in of_arm if run.synthesis is not None]
        if made:
            wanted, candidates, kept, short = (
                sum(sum(counts.values()) for counts in part)
                for part in zip(*((s.wanted, s.candidates, s.kept, s.shortfall) for s in made), strict=True)
            )
            reasons = dict.fromkeys(reason for s in made for reason in s.rejected)
            rejected = {reason: sum(s.rejected.get(reason, 0) for s in made) for reason in reasons}
            rows.append(Selection(arm, len(made), wanted, candidates, kept, rejected, short))
    return tuple(rows)


def origin(runs: Runs, results: Sequence[Result]) -> Origin:
    """Seeds, digests, versions and machines of every run behind the report; `results` are the runs as they were found."""
    records = [record for of_arm in runs.values() for run in of_arm for record in run.records]
    versions: dict[str, dict[str, None]] = {}
    for record in records:
        for name, number in record.versions.items():
            versions.setdefault(name, {})[number] = None
    synthetic: dict[str, dict[int, str]] = {}
    for result in results:
        if result.record.synthetic_run is not None:
            synthetic.setdefault(result.arm, {})[result.seed] = result.record.synthetic_run.digest
    return Origin(
        seeds=tuple(sorted({result.seed for result in results})),
        test_digest=results[0].record.test_digest,
        train_digests={result.seed: result.record.train_digest for result in results},
        synthetic_digests=synthetic,
        versions={name: tuple(numbers) for name, numbers in versions.items()},
        devices=tuple(dict.fromkeys(_device(record.device) for record in records)),
    )


def _device(device: Mapping[str, Any]) -> str:
    kind = str(device.get("type", "unknown"))
    extra = [f"{key} {value}" for key, value in device.items() if key not in ("name", "type")]
    return ", ".join([str(device.get("name") or kind), kind, *extra])
