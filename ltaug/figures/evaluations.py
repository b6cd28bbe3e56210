"""Evaluations as figures see them, and whether their numbers may stand in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.errors import MismatchError, OptionError
from ltaug.figures.subject import name_of
from ltaug.metrics.measures import MEASURES
from ltaug.records import EvaluationRecord, GeneratorRecord

MEASURED = ("dataset", "extractor", "extractor_digest", "reference", "reference_digest", "samples")
SAMPLED = ("sampler", "sample_steps", "guidance", "guidance_interval")


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluate-generator run, the generator it evaluated, and its metrics.json."""

    record: EvaluationRecord
    generator: GeneratorRecord
    metrics: Mapping[str, Any]

    @property
    def path(self) -> str:
        """For sentences."""
        return str(self.record.path)

    @property
    def seed(self) -> int:
        """Of its generator."""
        return self.generator.seed

    @property
    def name(self) -> str:
        """What its generator is called; others may be called the same."""
        return self.record.arm or name_of(self.generator.options)

    @property
    def provenance(self) -> Mapping[str, Any]:
        return dict(self.metrics["provenance"])

    @property
    def summary(self) -> Mapping[str, float | None]:
        return dict(self.metrics["summary"])


def open_evaluations(runs: Sequence[Path]) -> list[Evaluation]:
    """Evaluations with what is known of their generators.

    Raises:
        OptionError: one is named twice.
        MismatchError: another stage's run, not finished, or its generator is no longer where it was.
        CorruptError: metrics.json is missing or damaged.
    """
    if len({path.resolve() for path in runs}) < len(runs):
        raise OptionError(f"{', '.join(map(str, runs))}: an evaluation is named twice; name each once")
    return [_evaluation(EvaluationRecord.read(path, finished=True)) for path in runs]


def _evaluation(record: EvaluationRecord) -> Evaluation:
    metrics, path, evaluated = record.metrics(), record.path, record.generator_run
    made = record.generator()
    if made is None:
        raise MismatchError(f"the generator of {path} is not at {evaluated.path}; keep them together, as they were made")
    if evaluated.digest not in made.outputs.values():
        raise MismatchError(f"the generator at {evaluated.path} is another than {path} evaluated; evaluate it again")
    return Evaluation(record, made, metrics)


def require_alike(evaluations: Sequence[Evaluation], *, keys: Sequence[str] = MEASURED) -> None:
    """Raise MismatchError, naming every difference, unless all were measured with the same of `keys` in their provenance."""
    first = evaluations[0]
    for other in evaluations[1:]:
        found = unlike(*({key: e.provenance.get(key) for key in keys} for e in (first, other)), names=(first.path, other.path))
        if found:
            raise MismatchError(f"these evaluations were not made alike ({found}); evaluate all generators with the same options")


def unlike(first: Mapping[str, Any], second: Mapping[str, Any], *, names: tuple[str, str]) -> str:
    """Where two mappings differ, as 'samples: 2000 in runs/a, 1000 in runs/b; ...'; "" where they do not."""
    changed = [key for key in [*first, *(k for k in second if k not in first)] if first.get(key) != second.get(key)]
    return "; ".join(f"{key}: {_told(first.get(key))} in {names[0]}, {_told(second.get(key))} in {names[1]}" for key in changed)


def _told(value: Any) -> str:
    """A value for a sentence; of a digest its beginning."""
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)


def title_of(measure: str, extractor: str) -> str:
    """A measure in words, and which way is better. Only Inception's features give what is published as FID and IS."""
    key, _, group = measure.partition("/")
    found = MEASURES[key]
    name = found.elsewhere.format(extractor=extractor) if found.elsewhere and extractor != "inception" else found.name
    return f"{name}{f' of {group}-shot classes' if group else ''} ({found.direction})"


def terms_of(evaluation: Evaluation) -> str:
    """How it was measured, in a line."""
    p = evaluation.provenance
    return f"{p['extractor']} features, {p['samples']:,} samples against {p['reference']} ({p['reference_images']:,} images)"
