"""Find evaluations of generators and sort them into tables whose numbers may stand in one column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltaug.errors import CorruptError, MismatchError
from ltaug.files import read_json
from ltaug.options import EVERYWHERE
from ltaug.report.collect import METRICS_FILE, Experiment, run_directories
from ltaug.runs import RUN_FILE, read_run, verify_outputs

STAGE = "evaluate-generator"
PAIRS_FILE = "closest-pairs.png"


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluate-generator run."""

    path: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def label(self) -> str:
        return str(self.record["label"])

    @property
    def generator(self) -> str:
        """SHA-256 of the generator's weights."""
        return str(self.record["inputs"]["generator"]["digest"])

    @cached_property
    def fitted(self) -> Mapping[str, Any] | None:
        """The generator's own record, where it still lies where the run says."""
        given = self.record["inputs"]["generator"].get("path")
        path = (self.path / given).resolve() if given else None
        return read_run(path, stage="fit-generator") if path is not None and (path / RUN_FILE).is_file() else None

    @property
    def seed(self) -> int:
        """The generator's seed, by which runs are paired; the images' own seed where the generator is gone."""
        return int((self.fitted or self.record)["seed"])

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {"guidance_interval": list(EVERYWHERE), **self.metrics["provenance"]}  # the first runs do not record it

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
        options = self.record["options"].get(STAGE, {})
        measured = {key: options.get(key) for key in ("neighbours", "clusters")}
        return {key: self.provenance.get(key) for key in ("dataset", "extractor", "reference", "samples")} | measured


def collect_evaluations(runs: Sequence[Path]) -> tuple[tuple[Evaluation, ...], tuple[str, ...]]:
    """The finished evaluations at or below `runs`, and the labels of those that are not finished.

    Raises:
        OptionError: a directory that does not exist.
        CorruptError: a damaged run, or one without what an evaluation holds.
    """
    found: list[Evaluation] = []
    skipped: list[str] = []
    for path in run_directories(runs):
        record = read_run(path)
        if record["stage"] != STAGE:
            continue
        if record["status"] == "finished":
            found.append(_read(path, record))
        else:
            skipped.append(str(record.get("label", path.name)))
    return tuple(found), tuple(skipped)


def _read(path: Path, record: Mapping[str, Any]) -> Evaluation:
    verify_outputs(path, record, [METRICS_FILE, PAIRS_FILE])
    metrics = read_json(path / METRICS_FILE)
    needed = ("summary", "reasons", "warnings", "per_class", "class_names", "class_counts", "provenance")
    missing = [key for key in needed if key not in metrics]
    if missing or not (record["inputs"].get("generator") or {}).get("digest"):
        lacks = ", ".join(missing) or "generator's digest"
        raise CorruptError(f"{path} is an evaluation without {lacks}; delete it and run its command again")
    return Evaluation(path, record, metrics)


def users(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Weights' SHA-256 -> the arms whose synthetic images came from that generator, shortest name first.

    Arms that share a generator at one seed stand together at every seed, also where one of them was not run.
    """
    behind: dict[str, set[str]] = {}
    for arm, by_seed in experiment.results.items():
        for result in by_seed.values():
            if result.synthesis is not None:
                given = read_run(result.synthesis, stage="synthesize")["inputs"].get("generator") or {}
                behind.setdefault(str(given.get("digest")), set()).add(arm)
    together = {arm: set().union(*(arms for arms in behind.values() if arm in arms)) for arm in experiment.results}
    whole = {digest: set().union(*(together[arm] for arm in arms)) for digest, arms in behind.items()}
    return {digest: tuple(sorted(arms, key=lambda a: (len(a), a))) for digest, arms in whole.items()}


def names_of(evaluation: Evaluation, arms: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The arms that use its generator, or else the arm it was made for, or else its label without the seed."""
    used = arms.get(evaluation.generator)
    if used:
        return used
    parts = [part for part in evaluation.label.split("/") if not part.startswith("seed-") and part != "evaluation"]
    return (str(evaluation.record["options"].get("arm") or "/".join(parts) or evaluation.path.name),)


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
