"""Generators as figures see them: loaded, with a name that says what makes each one different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltaug.data.groups import by_frequency
from ltaug.errors import MismatchError, OptionError, nearest
from ltaug.generator.generate import Generator
from ltaug.options import GeneratorOptions
from ltaug.records import GeneratorRecord
from ltaug.runtime import Runtime


@dataclass(frozen=True)
class Subject:
    """A generator to draw; its name is unique in its figure."""

    name: str
    generator: Generator
    record: GeneratorRecord

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of every class."""
        return self.record.class_counts

    @property
    def tau(self) -> float | None:
        """Strength of its class-balancing term; None where the objective has none."""
        return tau_of(self.record.options)

    def by_frequency(self) -> list[int]:
        """Class indices, most frequent first; of equal counts the lower index."""
        return by_frequency(self.class_counts)


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
    names = names_of([record.options for record in records], told_apart(runs))
    return [Subject(*subject) for subject in zip(names, generators, records, strict=True)]


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


def names_of(options: Sequence[GeneratorOptions], labels: Sequence[str]) -> list[str]:
    """Every generator's name, with its label where the name alone is not unique."""
    names = [name_of(o) for o in options]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}, {label}" for name, label in zip(names, labels, strict=True)]


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
