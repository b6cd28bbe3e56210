"""Find evaluations of generators, sort them into tables whose numbers may stand in one column, and say what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltaug.errors import MismatchError
from ltaug.metrics.measures import MEASURES
from ltaug.records import PAIRS_SHEET, EvaluationRecord
from ltaug.report.collect import Experiment, run_directories
from ltaug.report.wording import count, metric_name, several
from ltaug.runs import read_run


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluate-generator run and what its metrics.json holds."""

    record: EvaluationRecord
    metrics: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.record.path

    @cached_property
    def seed(self) -> int:
        """The generator's seed, by which runs are paired; the images' own seed where the generator is gone."""
        return (self.record.generator() or self.record).seed

    @property
    def provenance(self) -> Mapping[str, Any]:
        return dict(self.metrics["provenance"])

    @property
    def values(self) -> dict[str, float]:
        """The measures that could be taken."""
        return {key: float(value) for key, value in self.metrics["summary"].items() if value is not None}

    @property
    def reasons(self) -> dict[str, str]:
        """Why the others could not."""
        given = self.metrics["reasons"]
        missing = [key for key, value in self.metrics["summary"].items() if value is None]
        return {key: str(given.get(key, "the run gives no reason")) for key in missing}

    @property
    def sampling(self) -> dict[str, Any]:
        """How its images were drawn from the generator."""
        return {key: self.provenance.get(key) for key in ("sampler", "sample_steps", "guidance", "guidance_interval")}

    @property
    def terms(self) -> dict[str, Any]:
        """What must be the same for two values of a measure to stand in one column."""
        told = {key: self.provenance.get(key) for key in ("dataset", "extractor", "reference", "samples")}
        return told | {"neighbours": self.record.options.neighbours, "clusters": self.record.options.clusters}


def collect_evaluations(runs: Sequence[Path]) -> tuple[tuple[Evaluation, ...], tuple[str, ...]]:
    """The finished evaluations at or below `runs`, and the labels of those that are not finished.

    Raises:
        OptionError: a directory that does not exist.
        CorruptError: a damaged run, or one without what an evaluation holds.
    """
    found: list[Evaluation] = []
    skipped: list[str] = []
    for path in run_directories(runs):
        run = read_run(path)
        if run["stage"] != EvaluationRecord.stage:
            continue
        record = EvaluationRecord.of(path, run)
        if record.finished:
            record.verify(PAIRS_SHEET)
            found.append(Evaluation(record, record.metrics()))
        else:
            skipped.append(record.label)
    return tuple(found), tuple(skipped)


def users(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Weights' SHA-256 -> the arms whose synthetic images came from that generator, shortest name first.

    Arms that share a generator at one seed stand together at every seed, also where one of them was not run.
    """
    behind: dict[str, set[str]] = {}
    for arm, by_seed in experiment.results.items():
        for result in by_seed.values():
            if result.synthesis is not None:
                behind.setdefault(result.synthesis.generator_run.digest, set()).add(arm)
    together = {arm: set().union(*(arms for arms in behind.values() if arm in arms)) for arm in experiment.results}
    whole = {digest: set().union(*(together[arm] for arm in arms)) for digest, arms in behind.items()}
    return {digest: tuple(sorted(arms, key=lambda a: (len(a), a))) for digest, arms in whole.items()}


def names_of(evaluation: Evaluation, arms: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The arms that use its generator, or else the arm it was made for, or else its label without the seed."""
    record = evaluation.record
    used = arms.get(record.generator_run.digest)
    if used:
        return used
    parts = [part for part in record.label.split("/") if not part.startswith("seed-") and part != "evaluation"]
    return (record.arm or "/".join(parts) or record.path.name,)


def comparable(evaluations: Sequence[Evaluation], arms: Mapping[str, tuple[str, ...]]) -> list[list[Evaluation]]:
    """Evaluations in groups of the same terms, and at each seed of the same extractor and reference images; largest first.

    Where extractor or reference change with the seed, as a reference drawn by it does, seeds stand together that do not meet.

    Raises:
        MismatchError: two evaluations of one generator, seed and sampling on the same terms.
    """
    alike: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        digests = [one.provenance.get(key) for key in ("extractor_digest", "reference_digest")]
        alike.setdefault(json.dumps([one.terms, digests], sort_keys=True), []).append(one)
    groups: list[list[Evaluation]] = []
    for part in sorted(alike.values(), key=len, reverse=True):
        seeds = {one.seed for one in part}
        home = next((g for g in groups if g[0].terms == part[0].terms and seeds.isdisjoint(one.seed for one in g)), None)
        if home is None:
            groups.append(part)
        else:
            home += part
    for group in groups:
        seen: dict[str, Evaluation] = {}
        for one in group:
            other = seen.setdefault(json.dumps([one.seed, one.sampling, names_of(one, arms)], sort_keys=True), one)
            if other is not one:
                raise MismatchError(f"{other.path} and {one.path} evaluate the same generator at seed {one.seed}; give only one")
    return groups


def remarks(by_row: Mapping[str, Mapping[int, Evaluation]]) -> list[str]:
    """Sentences below a table (row -> seed -> evaluation): what was not measured and why, warnings, seeds without a run."""
    seeds = {seed for by_seed in by_row.values() for seed in by_seed}
    lacking: dict[tuple[str, str], dict[str, list[str]]] = {}  # (seeds, reason) -> row -> measures
    warned: dict[str, dict[str, None]] = {}  # text -> rows
    for name, by_seed in by_row.items():
        for one in by_seed.values():
            for text in one.metrics["warnings"]:
                warned.setdefault(str(text), {})[name] = None
        missing: dict[tuple[str, str], list[int]] = {}  # (measure, reason) -> seeds
        for seed, one in sorted(by_seed.items()):
            for key_and_reason in one.reasons.items():
                missing.setdefault(key_and_reason, []).append(seed)
        for (key, reason), at in missing.items():
            when = "" if len(at) == len(by_seed) else f" at seed{'s' * (len(at) > 1)} {several(at)}"
            measure, slash, group = key.partition("/")
            words = MEASURES[measure].brief_name if measure in MEASURES else metric_name(measure)
            lacking.setdefault((when, reason), {}).setdefault(name, []).append(f"{words}, {group}" if slash else words)
    notes = []
    for (when, reason), rows in lacking.items():
        measures = dict.fromkeys(measure for of_row in rows.values() for measure in of_row)
        whose = "" if len(rows) == len(by_row) else f" of {'; '.join(rows)}"
        notes.append(f"Not measured{when}{whose}: {'; '.join(measures)}. Reason: {reason.rstrip('.')}.")
    for text, names in warned.items():
        notes.append(text if len(names) == len(by_row) else f"{'; '.join(names)}: {text}")
    for name, by_seed in by_row.items():
        gone = sorted(seeds - set(by_seed))
        if gone:
            notes.append(f"{name} was not evaluated at {count(len(gone), 'seed')} ({several(gone)}).")
    return notes
