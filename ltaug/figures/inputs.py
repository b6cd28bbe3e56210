"""The runs that figures are drawn from: generators, loaded and named by what makes each different, and evaluations.

Evaluations stand in one figure only where their numbers were measured alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.data.groups import by_frequency
from ltaug.errors import MismatchError, OptionError, nearest
from ltaug.generator.generate import Generator
from ltaug.metrics.measures import MEASURES
from ltaug.options import GeneratorOptions
from ltaug.records import EvaluationRecord, GeneratorRecord
from ltaug.runs import differences
from ltaug.runtime import Runtime

MEASURED = ("dataset", "extractor", "extractor_digest", "reference", "reference_digest", "samples")
SAMPLED = ("sampler", "sample_steps", "guidance", "guidance_interval")


@dataclass(frozen=True)
class Subject:
    """A generator to draw; its name is unique in its figure."""

    name: str
    generator: Generator
    record: GeneratorRecord

    def by_frequency(self) -> list[int]:
        """Class indices, most frequent first; of equal counts the lower index."""
        return by_frequency(self.record.class_counts)


def open_subjects(runs: Sequence[Path], *, runtime: Runtime) -> list[Subject]:
    """Generators for one figure.

    Raises:
        OptionError: one is named twice.
        MismatchError: one has other classes or images of another shape than the first.
    """
    records = [GeneratorRecord.read(path, finished=True) for path in runs]
    if len({path.resolve() for path in runs}) < len(runs):
        raise OptionError(f"{', '.join(map(str, runs))}: a generator is named twice; name each once")
    generators = [Generator.load(path, runtime=runtime) for path in runs]
    first = generators[0]
    for path, generator in zip(runs, generators, strict=True):
        if generator.class_names != first.class_names:
            raise MismatchError(f"{path} has other classes than {runs[0]}; draw generators of the same classes and class order")
        if generator.image_shape != first.image_shape:
            shapes = f"images of {generator.image_shape}, {runs[0]} of {first.image_shape} (channels, height, width)"
            raise MismatchError(f"{path} makes {shapes}; draw generators of the same image size")
    alike = Counter(name_of(record.options) for record in records)
    subjects = []
    for record, generator, label in zip(records, generators, told_apart(runs), strict=True):
        name = name_of(record.options)
        subjects.append(Subject(name if alike[name] == 1 else f"{name}, {label}", generator, record))
    return subjects


def require_same_images(subjects: Sequence[Subject]) -> None:
    """Raise MismatchError unless all were fitted to the same training images."""
    first = subjects[0].record
    for subject in subjects:
        if subject.record.train_digest != first.train_digest:
            remedy = "draw generators of one dataset, draw and seed"
            raise MismatchError(f"{subject.record.path} was fitted to other training images than {first.path}; {remedy}")


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Of each path the part that differs: ["ddpm", "ddpm-ada"] of e/seed-0/ddpm/generator and e/seed-0/ddpm-ada/generator."""
    parts = [path.resolve().parts for path in paths]
    if len(parts) < 2:
        return [path.name for path in paths]
    room = min(map(len, parts))
    head = next((i for i in range(room) if len({p[i] for p in parts}) > 1), room)
    tail = next((i for i in range(room - head) if len({p[-1 - i] for p in parts}) > 1), room - head)
    return ["/".join(p[head : len(p) - tail]) or p[-1] for p in parts]


def tau_of(options: GeneratorOptions) -> float | None:
    """tau of a generator, None where its objective has no class-balancing term."""
    return options.tau if "cbdm" in options.objective.split("+") else None


def name_of(options: GeneratorOptions) -> str:
    """A generator's objective, and its tau where it has one: "ddpm", "cbdm (tau 1)"."""
    tau = tau_of(options)
    return options.objective if tau is None else f"{options.objective} (tau {tau:g})"


def find_classes(names: Sequence[str], class_names: Sequence[str], *, flag: str) -> list[int]:
    """Indices of classes given by name.

    Raises:
        OptionError: no such class (the nearest is suggested), or one twice.
    """
    found = []
    for name in names:
        if name not in class_names:
            hint = nearest(name, class_names)
            if not hint.startswith("did you mean") and len(class_names) > 20:
                hint = f"there are {len(class_names)}, such as {', '.join(class_names[:3])}"
            raise OptionError(f"{flag}: there is no class {name!r}; {hint}")
        found.append(list(class_names).index(name))
    if len(set(found)) < len(found):
        raise OptionError(f"{flag} {','.join(names)} names a class twice; name each once")
    return found


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
    found = []
    for path in runs:
        record = EvaluationRecord.read(path, finished=True)
        metrics, evaluated, made = record.metrics(), record.generator_run, record.generator()
        if made is None:
            raise MismatchError(f"the generator of {path} is not at {evaluated.path}; keep them together, as they were made")
        if evaluated.digest not in made.outputs.values():
            raise MismatchError(f"the generator at {evaluated.path} is another than {path} evaluated; evaluate it again")
        found.append(Evaluation(record, made, metrics))
    return found


def require_alike(evaluations: Sequence[Evaluation], *, keys: Sequence[str] = MEASURED) -> None:
    """Raise MismatchError, naming every difference, unless all were measured with the same of `keys` in their provenance."""
    first = evaluations[0]
    for other in evaluations[1:]:
        told, others = ({key: e.provenance.get(key) for key in keys} for e in (first, other))
        if found := "; ".join(differences(told, others, at=(f"in {first.path}", f"in {other.path}"))):
            raise MismatchError(f"these evaluations were not made alike ({found}); evaluate all generators with the same options")


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
