"""How the arms were made: settings and where they differ, what selection kept, what it took, on which machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.report.collect import Experiment, Result
from ltaug.runs import RUN_FILE, read_run

Record = Mapping[str, Any]
STAGES = ("fit-generator", "synthesize", "train-classifier")


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
class Timing:
    """Seconds per stage, mean over seeds, and the named parts each run recorded."""

    arm: str
    stages: Mapping[str, float]
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.stages.values())


@dataclass(frozen=True)
class Origin:
    """What is needed to make the same numbers again: seeds, digests, versions, machines; several values where runs differ."""

    seeds: tuple[int, ...]
    test_digest: str
    train_digests: Mapping[int, str]
    synthetic_digests: Mapping[str, Mapping[int, str]]
    versions: Mapping[str, tuple[str, ...]]
    devices: tuple[str, ...]


def chain(result: Result) -> dict[str, Record]:
    """The records behind a classifier run by stage, as far as they still lie where the runs say."""
    records: dict[str, Record] = {"train-classifier": result.record}
    synthesis = result.synthesis
    if synthesis is not None:
        records["synthesize"] = read_run(synthesis, stage="synthesize")
        generator = _behind(synthesis, records["synthesize"], "generator")
        if generator is not None:
            records["fit-generator"] = _fitted(generator)
    return {stage: records[stage] for stage in STAGES if stage in records}


def _fitted(generator: Path) -> Record:
    """A generator's record, with the seconds of the generator it starts from: without those it would not be there."""
    record = read_run(generator, stage="fit-generator")
    source = _behind(generator, record, "source")
    if source is None:
        return record
    return {**record, "timings": {**record["timings"], "what it starts from": sum(_fitted(source)["timings"].values())}}


def _behind(run: Path, record: Record, name: str) -> Path | None:
    """The run that `run` took as its input `name`, if any, where it still lies."""
    given = (record["inputs"].get(name) or {}).get("path")
    path = (run / given).resolve() if given else None
    return path if path is not None and (path / RUN_FILE).is_file() else None


def settings(experiment: Experiment, chains: Mapping[str, Mapping[int, Mapping[str, Record]]]) -> Settings:
    """Every option of every stage, split by whether the arms that have it agree."""
    found: dict[str, dict[str, Any]] = {}
    steps_before: dict[str, Any] = {}
    for arm, by_seed in chains.items():
        records = by_seed[min(by_seed)]
        for key, value in experiment.first(arm).record["options"].get("dataset", {}).items():
            found.setdefault(f"dataset: {key}", {})[arm] = value
        for stage, record in records.items():
            for key, value in record["options"].get(stage, {}).items():
                found.setdefault(f"{stage}: {key}", {})[arm] = value
        facts = records.get("fit-generator", {}).get("facts", {})
        if "parameters" in facts:
            found.setdefault("fit-generator: parameters of the network", {})[arm] = facts["parameters"]
        if "fit-generator" in records:
            steps_before[arm] = (records["fit-generator"]["inputs"].get("source") or {}).get("steps", 0)
    if any(steps_before.values()):
        found["fit-generator: steps of the generator it starts from"] = steps_before
    shared = {key: next(iter(v.values())) for key, v in found.items() if all(x == next(iter(v.values())) for x in v.values())}
    order = sorted(found, key=lambda key: ["dataset", *STAGES].index(key.split(":")[0]))
    return Settings({k: shared[k] for k in order if k in shared}, {k: found[k] for k in order if k not in shared})


def selections(chains: Mapping[str, Mapping[int, Mapping[str, Record]]]) -> tuple[Selection, ...]:
    """For every arm with a synthesis run, what was generated and kept."""
    rows = []
    for arm, by_seed in chains.items():
        facts = [records["synthesize"]["facts"] for records in by_seed.values() if "synthesize" in records]
        if facts:
            wanted, candidates, kept, short = (
                sum(_total(f.get(k)) for f in facts) for k in ("wanted", "candidates", "kept", "shortfall")
            )
            reasons = dict.fromkeys(reason for f in facts for reason in f.get("rejected") or {})
            rejected = {reason: sum((f.get("rejected") or {}).get(reason, 0) for f in facts) for reason in reasons}
            rows.append(Selection(arm, len(facts), wanted, candidates, kept, rejected, short))
    return tuple(rows)


def _total(value: Any) -> int:
    return sum(value.values()) if isinstance(value, Mapping) else int(value or 0)


def timings(chains: Mapping[str, Mapping[int, Mapping[str, Record]]]) -> tuple[Timing, ...]:
    """Seconds an arm took, mean over its seeds; a generator that several arms share counts in each of them."""
    rows = []
    for arm, by_seed in chains.items():
        stages: dict[str, float] = {}
        parts: dict[str, float] = {}
        for records in by_seed.values():
            for stage, record in records.items():
                for name, seconds in record["timings"].items():
                    stages[stage] = stages.get(stage, 0.0) + seconds / len(by_seed)
                    part = f"{stage}: {name}"
                    parts[part] = parts.get(part, 0.0) + seconds / len(by_seed)
        rows.append(Timing(arm, {s: stages[s] for s in STAGES if s in stages}, parts))
    return tuple(rows)


def origin(experiment: Experiment, chains: Mapping[str, Mapping[int, Mapping[str, Record]]]) -> Origin:
    """Seeds, digests, versions and machines of every run behind the report."""
    records = [record for by_seed in chains.values() for chain_ in by_seed.values() for record in chain_.values()]
    versions: dict[str, dict[str, None]] = {}
    for record in records:
        for name, number in record["versions"].items():
            versions.setdefault(name, {})[number] = None
    devices = dict.fromkeys(_device(record["device"]) for record in records)
    inputs = [(r.arm, r.seed, r.record["inputs"]) for r in experiment.runs]
    synthetic: dict[str, dict[int, str]] = {}
    for arm, seed, given in inputs:
        if given.get("synthetic"):
            synthetic.setdefault(arm, {})[seed] = str(given["synthetic"].get("digest", ""))
    return Origin(
        seeds=experiment.seeds,
        test_digest=str((inputs[0][2].get("test") or {}).get("digest", "")),
        train_digests={seed: str((given.get("train") or {}).get("digest", "")) for _, seed, given in inputs},
        synthetic_digests=synthetic,
        versions={name: tuple(numbers) for name, numbers in versions.items()},
        devices=tuple(devices),
    )


def _device(device: Record) -> str:
    parts: Sequence[str] = [str(device.get("name") or device.get("type", "unknown"))]
    extra = [f"{key} {value}" for key, value in device.items() if key not in ("name", "type")]
    return ", ".join([*parts, str(device.get("type", "")), *extra])
