"""Find evaluations of generators and sort them into tables whose numbers may stand in one column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltaug.errors import MismatchError
from ltaug.records import PAIRS_SHEET, EvaluationRecord
from ltaug.report.collect import Experiment, run_directories
from ltaug.runs import read_run


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluate-generator run and what its metrics.json holds."""

    record: EvaluationRecord
    metrics: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.record.path

    @property
    def generator(self) -> str:
        """SHA-256 of the generator's weights."""
        return self.record.generator_run.digest

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
    def class_counts(self) -> list[int]:
        return list(self.metrics["class_counts"])

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
    used = arms.get(evaluation.generator)
    if used:
        return used
    record = evaluation.record
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
        home = next((g for g in groups if g[0].terms == part[0].terms and not _seeds(g) & _seeds(part)), None)
        if home is None:
            groups.append(part)
        else:
            home += part
    for group in groups:
        _require_distinct(group, arms)
    return groups


def _seeds(group: Sequence[Evaluation]) -> set[int]:
    return {one.seed for one in group}


def _require_distinct(group: Sequence[Evaluation], arms: Mapping[str, tuple[str, ...]]) -> None:
    seen: dict[str, Evaluation] = {}
    for one in group:
        other = seen.setdefault(json.dumps([one.seed, one.sampling, names_of(one, arms)], sort_keys=True), one)
        if other is not one:
            raise MismatchError(f"{other.path} and {one.path} evaluate the same generator at seed {one.seed}; give only one")
