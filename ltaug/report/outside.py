"""Outside weights behind the arms: which they are, what they may have seen, and whether they were tried without synthesis."""

from __future__ import annotations

from dataclasses import replace

from ltaug.report.collect import Experiment
from ltaug.report.gates import Gate
from ltaug.report.verdict import Verdict
from ltaug.report.wording import several


def with_outside(found: Verdict, experiment: Experiment) -> Verdict:
    """The verdict with the names of outside weights in its first line, where an arm was made with any."""
    names = dict.fromkeys(one.name for run in experiment.runs for one in run.record.outside)
    if not names:
        return found
    first = f"{found.recommendation.text} Outside data: {', '.join(names)}."
    headline = first if found.headline == found.recommendation.text else found.headline
    return replace(found, recommendation=replace(found.recommendation, text=first), headline=headline)


def outside_gates(experiment: Experiment) -> list[Gate]:
    """Says which arms were made with outside weights, where any were."""
    used: dict[str, dict[str, dict[str, None]]] = {}  # weights -> role -> arms
    brought: dict[str, None] = {}  # arms with outside weights behind more than their own classifiers
    for run in experiment.runs:
        for one in run.record.outside:
            used.setdefault(str(one), {}).setdefault(one.role, {})[run.arm] = None
            brought |= {run.arm: None} if one.role != "classifier" else {}
    if not used:
        return []
    told = [
        f"{weights}, {several([f'as {role} of {several(list(arms))}' for role, arms in roles.items()])}"
        for weights, roles in used.items()
    ]
    text = f"Outside data: {'; '.join(told)}. Test images may be among the images that these weights were trained on."
    if brought and not any(run.record.start and not experiment.synthetic(run.arm) for run in experiment.runs):
        alone = "A classifier that starts from published weights was not run on real images alone"
        text += f" {alone}; it may do as well as {several(list(brought))}."
    arms = dict.fromkeys(arm for roles in used.values() for of_role in roles.values() for arm in of_role)
    return [Gate("outside", "warn", text, tuple(arms))]
