"""Evaluations as figures see them, and whether their numbers may stand in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltaug.errors import MismatchError
from ltaug.metrics.measures import MEASURES
from ltaug.options import EVERYWHERE

MEASURED = ("dataset", "extractor", "extractor_digest", "reference", "reference_digest", "samples")
SAMPLED = ("sampler", "sample_steps", "guidance", "guidance_interval")


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluate-generator run.

    Attributes:
        path: as it was named, for sentences.
        name: what its generator is called; others may be called the same.
        seed: of its generator.
        train: digest of its generator's training images.
        settings: its generator's fit-generator options.
        origin: what else its generator came from (dataset options, steps of a generator it was started from).
        metrics: its metrics.json.
    """

    path: str
    name: str
    seed: int
    train: str
    settings: Mapping[str, Any]
    origin: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {"guidance_interval": list(EVERYWHERE), **self.metrics["provenance"]}  # the first runs do not record it

    @property
    def summary(self) -> Mapping[str, float | None]:
        return dict(self.metrics["summary"])


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
