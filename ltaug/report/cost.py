"""What the arms cost: minutes of processor or GPU by part of the work, judges included, per arm and per further seed.

Counted as processor minutes, of all threads. If anything in the experiment was computed on CUDA, everything is counted as minutes
by the clock times the processes that shared it, and called GPU minutes, so that arms always compare in one unit. A run of an
earlier version, which recorded no processor time, counts by the clock as well. Loading data and drawing reports are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltaug.records import ClassifierRecord, GeneratorRecord, RunRecord, SynthesisRecord
from ltaug.report.collect import Experiment, Result
from ltaug.report.evaluations import Evaluation

PROCESSOR, GPU = "processor", "GPU"
JUDGES = "judges"
PARTS = (GeneratorRecord.stage, JUDGES, SynthesisRecord.stage, ClassifierRecord.stage)  # of an arm, in the order of the work

Part = tuple[str, RunRecord]  # what a run is called in the sum, and the run


@dataclass(frozen=True)
class Cost:
    """Minutes of `unit`, "processor" or "GPU", in all and by part: a stage's name or "judges"."""

    minutes: float
    unit: str
    parts: Mapping[str, float]


def costs(experiment: Experiment) -> dict[str, Cost | None]:
    """For every arm what one seed of it alone takes, mean over its seeds: classifier, synthesis, judges, generator and the
    generators that it was fine-tuned from, as if no other arm shared them.

    None where a part no longer lies where the run says, and where images of another origin took nobody knows what.
    """
    made = {arm: [None if r.brought else _parts(r) for r in by_seed.values()] for arm, by_seed in experiment.results.items()}
    unit = _unit(part for runs in made.values() for parts in runs for part in parts or ())
    found: dict[str, Cost | None] = {}
    for arm, runs in made.items():
        known = [parts for parts in runs if parts is not None]
        found[arm] = _cost((p for parts in known for p in parts), unit, len(runs)) if len(known) == len(runs) else None
    return found


def seed_cost(experiment: Experiment, evaluations: Sequence[Evaluation] = ()) -> Cost | None:
    """What one more seed of all arms takes: every run behind a seed and every evaluation of its generators once, mean over the
    seeds that all arms have.

    Runs behind several seeds, as one synthesis for classifiers of several seeds, would not be made again and are left out, as are
    images of another origin. None where a part no longer lies where the run says, or no seed is complete.
    """
    seeds: dict[int, dict[Path, Part]] = {}
    for seed in experiment.seeds:
        results = [by_seed[seed] for by_seed in experiment.results.values() if seed in by_seed]
        if len(results) < len(experiment.results):
            continue
        found = [_parts(result) for result in results]
        found.append([(e.record.stage, e.record) for e in evaluations if e.seed == seed])
        if None in found:
            return None
        seeds[seed] = {record.path: (name, record) for parts in found for name, record in parts or ()}
    if not seeds:
        return None
    unit = _unit(part for runs in seeds.values() for part in runs.values())
    times = Counter(path for runs in seeds.values() for path in runs)
    return _cost((part for runs in seeds.values() for path, part in runs.items() if times[path] == 1), unit, len(seeds))


def _parts(result: Result) -> list[Part] | None:
    """Every run behind a classifier, itself included; None where one is not to be found."""
    own: list[Part] = [(result.record.stage, result.record)]
    judging = result.record.teachers()
    if result.record.synthetic_run is not None and not result.brought:
        synthesis, generators = result.synthesis, list(result.generator.lineage()) if result.generator else []
        if synthesis is None or not generators or generators[-1].source_run is not None:
            return None
        judging += [*synthesis.judges(), *(judge for generator in generators for judge in generator.judges())]
        own = [*((generator.stage, generator) for generator in generators), (synthesis.stage, synthesis), *own]
    judges = {judge.path.resolve(): judge for judge in judging if judge is not None}
    if None in judging:
        return None
    return [*((JUDGES, judge) for judge in judges.values()), *own]


def _unit(parts: Iterable[Part]) -> str:
    return GPU if any(record.device.get("type") == "cuda" for _, record in parts) else PROCESSOR


def _cost(parts: Iterable[Part], unit: str, seeds: int) -> Cost:
    """The mean over so many seeds, whose runs `parts` are."""
    minutes: dict[str, float] = {}
    for name, record in parts:
        clock = sum(record.timings.values())
        seconds = clock if unit == GPU or record.processor is None else record.processor
        minutes[name] = minutes.get(name, 0.0) + seconds * record.device.get("processes", 1) / 60 / seeds
    return Cost(sum(minutes.values()), unit, minutes)
