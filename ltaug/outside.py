"""Weights from elsewhere that a run was made with: what they are, their files, their licence, what they were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Outside weights; None where something is not known.

    Attributes:
        role: what they are in a run: "classifier", "generator" or "autoencoder" where its own starts from them, or "judge",
            "teacher" or "extractor" where they are behind one.
        files: SHA-256 of each file's bytes by its name.
        repository, revision: of the hub that they came from.
    """

    role: str
    name: str
    files: Mapping[str, str]
    repository: str | None = None
    revision: str | None = None
    licence: str | None = None
    trained_on: str | None = None

    def __str__(self) -> str:
        facts = (f"trained on {self.trained_on}" if self.trained_on else "", f"licence: {self.licence or 'not stated'}")
        return f"{self.name} ({', '.join(filter(None, facts))})"


def serving(role: str, weights: Iterable[Outside]) -> list[Outside]:
    """The outside weights behind another run, in the role that this run has here."""
    return [replace(one, role=role) for one in weights]


def outside_facts(weights: Iterable[Outside]) -> dict[str, list[dict[str, Any]]]:
    """The fact `outside` of run.json, each weights once in each role; nothing where there are none."""
    found: list[dict[str, Any]] = []
    for one in weights:
        told = {name: value for name, value in asdict(one).items() if value is not None}
        found += [told] if told not in found else []
    return {"outside": found} if found else {}


def read_outside(facts: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[Outside, ...]:
    """The outside weights that a run.json tells of, given its `facts` and `inputs`."""
    names = [f.name for f in fields(Outside)]
    if early := facts.get("pretrained"):  # of a classifier, before there was one fact for all runs
        files = {early.get("file", "weights"): (inputs.get("pretrained") or {}).get("digest") or ""}
        told = {name: early[name] for name in names if name in early}
        return (Outside(role="classifier", name=early.get("model", ""), files=files, **told),)
    return tuple(Outside(**{name: one[name] for name in names if name in one}) for one in facts.get("outside", ()))
