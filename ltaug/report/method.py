"""How the arms were made: settings and where they differ, what selection kept, what it took, on which machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ltaug.records import ClassifierRecord, GeneratorRecord, SynthesisRecord
from ltaug.report.collect import Experiment, Result

Record = GeneratorRecord | SynthesisRecord | ClassifierRecord
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


@dataclass(frozen=True)
class Chain:
    """The records behind a classifier run, as far as they still lie where the runs say."""

    classifier: ClassifierRecord
    synthesis: SynthesisRecord | None
    generator: GeneratorRecord | None

    @property
    def records(self) -> list[Record]:
        """In the order of the stages."""
        return [record for record in (self.generator, self.synthesis, self.classifier) if record is not None]


Chains = Mapping[str, Mapping[int, Chain]]  # arm -> seed -> what is behind its run


def chain(result: Result) -> Chain:
    """What is behind a classifier run."""
    synthesis = result.synthesis
    return Chain(result.record, synthesis, None if synthesis is None else synthesis.generator())


def settings(experiment: Experiment, chains: Chains) -> Settings:
    """Every option of every stage, split by whether the arms that have it agree."""
    found: dict[str, dict[str, Any]] = {}
    generators = {arm: by_seed[min(by_seed)].generator for arm, by_seed in chains.items()}
    for arm, by_seed in chains.items():
        tables = {"dataset": asdict(experiment.first(arm).record.dataset)}
        tables |= {record.stage: asdict(record.options) for record in by_seed[min(by_seed)].records}
        for table, options in tables.items():
            for key, value in options.items():
                found.setdefault(f"{table}: {key}", {})[arm] = value
    for arm, generator in generators.items():
        if generator is not None and generator.parameters is not None:
            found.setdefault("fit-generator: parameters of the network", {})[arm] = generator.parameters
    before = {arm: generator.steps_before for arm, generator in generators.items() if generator is not None}
    if any(before.values()):
        found["fit-generator: steps of the generator it starts from"] = before
    shared = {key: next(iter(v.values())) for key, v in found.items() if all(x == next(iter(v.values())) for x in v.values())}
    order = sorted(found, key=lambda key: ["dataset", *STAGES].index(key.split(":")[0]))
    return Settings({k: shared[k] for k in order if k in shared}, {k: found[k] for k in order if k not in shared})


def selections(chains: Chains) -> tuple[Selection, ...]:
    """For every arm with a synthesis run, what was generated and kept."""
    rows = []
    for arm, by_seed in chains.items():
        made = [c.synthesis for c in by_seed.values() if c.synthesis is not None]
        if made:
            wanted, candidates, kept, short = (
                sum(sum(counts.values()) for counts in part)
                for part in zip(*((s.wanted, s.candidates, s.kept, s.shortfall) for s in made), strict=True)
            )
            reasons = dict.fromkeys(reason for s in made for reason in s.rejected)
            rejected = {reason: sum(s.rejected.get(reason, 0) for s in made) for reason in reasons}
            rows.append(Selection(arm, len(made), wanted, candidates, kept, rejected, short))
    return tuple(rows)


def timings(chains: Chains) -> tuple[Timing, ...]:
    """Seconds an arm took, mean over its seeds; a generator that several arms share counts in each of them."""
    rows = []
    for arm, by_seed in chains.items():
        parts: dict[str, float] = {}
        for name, seconds in (part for c in by_seed.values() for part in _seconds(c)):
            parts[name] = parts.get(name, 0.0) + seconds / len(by_seed)
        stages = {stage: [s for name, s in parts.items() if name.startswith(f"{stage}: ")] for stage in STAGES}
        rows.append(Timing(arm, {stage: sum(seconds) for stage, seconds in stages.items() if seconds}, parts))
    return tuple(rows)


def _seconds(chain_: Chain) -> Iterator[tuple[str, float]]:
    """(stage: part, seconds), with those of the generators that its generator comes from: without them it would not be there."""
    for record in chain_.records:
        for name, seconds in record.timings.items():
            yield f"{record.stage}: {name}", seconds
    for source in list(chain_.generator.lineage())[1:] if chain_.generator else []:
        yield "fit-generator: what it starts from", sum(source.timings.values())


def origin(experiment: Experiment, chains: Chains) -> Origin:
    """Seeds, digests, versions and machines of every run behind the report."""
    records = [record for by_seed in chains.values() for chain_ in by_seed.values() for record in chain_.records]
    versions: dict[str, dict[str, None]] = {}
    for record in records:
        for name, number in record.versions.items():
            versions.setdefault(name, {})[number] = None
    synthetic: dict[str, dict[int, str]] = {}
    for result in experiment.runs:
        if result.record.synthetic_run is not None:
            synthetic.setdefault(result.arm, {})[result.seed] = result.record.synthetic_run.digest
    return Origin(
        seeds=experiment.seeds,
        test_digest=experiment.runs[0].record.test_digest,
        train_digests={result.seed: result.record.train_digest for result in experiment.runs},
        synthetic_digests=synthetic,
        versions={name: tuple(numbers) for name, numbers in versions.items()},
        devices=tuple(dict.fromkeys(_device(record.device) for record in records)),
    )


def _device(device: Mapping[str, Any]) -> str:
    kind = str(device.get("type", "unknown"))
    extra = [f"{key} {value}" for key, value in device.items() if key not in ("name", "type")]
    return ", ".join([str(device.get("name") or kind), kind, *extra])
