"""Generators as figures see them: loaded, with a name that says what makes each one different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltaug.errors import OptionError, nearest
from ltaug.generator.stage import Generator


@dataclass(frozen=True)
class Subject:
    """A generator to draw.

    Attributes:
        name: unique in its figure.
        settings: its fit-generator options, as run.json has them.
        class_counts: training images of every class.
        seed: it was fitted with.
    """

    name: str
    generator: Generator
    settings: Mapping[str, Any]
    class_counts: tuple[int, ...]
    seed: int

    @property
    def tau(self) -> float | None:
        """Strength of its class-balancing term; None where the objective has none."""
        return tau_of(self.settings)

    def by_frequency(self) -> list[int]:
        """Class indices, most frequent first; of equal counts the lower index."""
        return [int(c) for c in np.argsort(-np.asarray(self.class_counts), kind="stable")]


def tau_of(settings: Mapping[str, Any]) -> float | None:
    """tau of a generator's options, None where its objective has no class-balancing term."""
    return float(settings["tau"]) if "cbdm" in str(settings["objective"]).split("+") else None


def name_of(settings: Mapping[str, Any]) -> str:
    """A generator's objective, and its tau where it has one: "ddpm", "cbdm (tau 1)"."""
    tau = tau_of(settings)
    return str(settings["objective"]) if tau is None else f"{settings['objective']} (tau {tau:g})"


def names_of(settings: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    """Every generator's name, with its label where the name alone is not unique."""
    names = [name_of(s) for s in settings]
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
