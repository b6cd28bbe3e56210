"""What has to be done: a recipe, or a classifier comparison, as stage calls with directories and dependencies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltaug.errors import MismatchError
from ltaug.options import EvaluationOptions, SamplingOptions, judges_needed
from ltaug.pipeline.task import Task
from ltaug.recipes import Arm, Recipe
from ltaug.runs import RUN_FILE, read_run

Given = dict[str, Any]
LOCK_PATIENCE = 10.0  # seconds: the workers of a killed parent take a moment to let go of their runs


def plan(recipe: Recipe, out: Path, seeds: int | None = None, *, first_seed: int = 0) -> list[Task]:
    """The recipe's stages for every seed, each after what it needs, and the report last.

    Seed S goes to the draw, the generator and the classifier alike. Stages that the recipe describes equally in
    several arms of a seed are done once, in the directory of the first arm that needs them. Where generators are
    evaluated, one classifier of the set before the draw looks at those of all seeds.

    Args:
        seeds: how many; None takes the recipe's number.
    """
    tasks: list[Task] = []
    extractor = _plan_extractor(recipe, out)
    for seed in range(first_seed, first_seed + (recipe.seeds if seeds is None else seeds)):
        tasks += _plan_seed(recipe, out, seed, extractor)
    compared = [t for t in tasks if t.function in ("train_classifier", "evaluate_generator")]
    folder = out / "report"
    title = recipe.about or recipe.name
    kwargs = {"runs": [t.directory for t in compared], "out": folder, "baseline": recipe.baseline, "title": title}
    report = Task("report", "write_report", kwargs, tuple(t.name for t in compared), folder)
    return [*([extractor] if extractor else []), *tasks, report]


def _plan_extractor(recipe: Recipe, out: Path) -> Task | None:
    """The classifier in whose features generators are measured, where the recipe measures any and names no other."""
    asked = [recipe.given(arm, "evaluate-generator") for arm in recipe.arms if recipe.evaluates(arm)]
    if not any(_looks_with_ours(given) for given in asked):
        return None
    kwargs: Given = {"dataset": recipe.dataset, "out": out / "extractor", "seed": 0, "label": "extractor"}
    kwargs["wait"] = LOCK_PATIENCE
    return Task("extractor", "train_extractor", kwargs, (), out / "extractor")


def _looks_with_ours(given: Given) -> bool:
    return bool(given.get("extractor", EvaluationOptions.extractor) == EvaluationOptions.extractor)


def _plan_seed(recipe: Recipe, out: Path, seed: int, extractor: Task | None) -> list[Task]:
    """One seed's judges, then each arm's stages."""
    tasks: dict[str, Task] = {}
    shared: dict[str, Task] = {}

    def add(name: str, function: str, kwargs: Given, needs: Sequence[Task], *, share: bool = False) -> Task:
        key = json.dumps([function, kwargs], default=str, sort_keys=True)
        if share and key in shared:
            return shared[key]
        name = f"seed-{seed}/{name}"
        kwargs = {**kwargs, "out": out / name, "seed": seed, "label": name, "wait": LOCK_PATIENCE}
        task = Task(name, function, kwargs, tuple(n.name for n in needs), out / name)
        tasks[name] = shared[key] = task
        return task

    by_name = {arm.name: arm for arm in recipe.arms}

    def fit(arm: Arm) -> Task:
        """The arm's generator, after the one it starts from."""
        asked: Given = {"dataset": recipe.dataset, "given": recipe.given(arm, "fit-generator")}
        sources = [fit(by_name[arm.source])] if arm.source else []
        if sources:
            asked["source"] = sources[0].directory
        return add(f"{arm.name}/generator", "fit_generator", asked, sources, share=True)

    def evaluate(arm: Arm, generator: Task) -> None:
        """The arm's generator measured, sampled as for synthesis unless the recipe says otherwise."""
        sampled = {k: v for k, v in recipe.given(arm, "synthesize").items() if k in SamplingOptions.__dataclass_fields__}
        asked: Given = {"generator": generator.directory, "given": sampled | recipe.given(arm, "evaluate-generator")}
        needs = [generator]
        if extractor is not None and _looks_with_ours(asked["given"]):
            asked["extractor_run"] = extractor.directory
            needs.append(extractor)
        add(f"{arm.name}/evaluation", "evaluate_generator", asked, needs, share=True)

    wanted = max((_judges(recipe, arm) for arm in recipe.arms), default=0)
    judges = [add(f"judges/judge-{i}", "train_judge", {"dataset": recipe.dataset, "index": i}, ()) for i in range(wanted)]
    for arm in recipe.arms:
        asked: Given
        synthetic: list[Task] = []
        if arm.synthetic:
            generator = fit(arm)
            if recipe.evaluates(arm):
                evaluate(arm, generator)
            mine = judges[: _judges(recipe, arm)]
            asked = {
                "generator": generator.directory,
                "given": recipe.given(arm, "synthesize"),
                "judges": [j.directory for j in mine] or None,
            }
            synthetic = [add(f"{arm.name}/synthetic", "synthesize", asked, [generator, *mine], share=True)]
        asked = {
            "dataset": recipe.dataset,
            "given": recipe.given(arm, "train-classifier"),
            "synthetic": synthetic[0].directory if synthetic else None,
            "arm": arm.name,
            "about": arm.about,
        }
        add(f"{arm.name}/classifier", "train_classifier", asked, synthetic)
    return list(tasks.values())


def _judges(recipe: Recipe, arm: Arm) -> int:
    """How many judges the arm's selection asks for."""
    return judges_needed(recipe.given(arm, "synthesize")) if arm.synthetic else 0


def plan_classifiers(
    dataset: Given, given: Given, *, out: Path, seeds: int, seed: int = 0, synthetic: Path | None, arm: str, baseline: bool = True
) -> list[Task]:
    """Classifiers with and without one set of synthetic images, over several seeds of one draw.

    Args:
        seed: the draw's seed (a generator's, where its images are added) and the first classifier's.
        arm: what the classifiers with synthetic images are called; without, they are called "real".
        baseline: whether to train those without as well.
    """
    arms: list[tuple[str, Path | None]] = [("real", None)] if baseline or synthetic is None else []
    if synthetic is not None:
        arms.append((arm, synthetic))
    tasks = []
    for s in range(seed, seed + seeds):
        for name, images in arms:
            label = f"{name}/seed-{s}"
            kwargs: Given = {"dataset": dataset, "given": given, "synthetic": images, "arm": name, "seed": s, "draw_seed": seed}
            kwargs |= {"out": out / label, "label": label, "wait": LOCK_PATIENCE}
            tasks.append(Task(label, "train_classifier", kwargs, (), out / label))
    return tasks


def origin(synthetic: Path) -> tuple[Given, int]:
    """The dataset options and the draw's seed of the generator that a synthesize run's images come from.

    Raises:
        MismatchError: not a synthesize run, or its generator is no longer where the run says.
    """
    record = read_run(synthetic, stage="synthesize")
    generator = synthetic / record["inputs"]["generator"]["path"]
    if not (generator / RUN_FILE).exists():
        raise MismatchError(f"the generator of {synthetic} is not at {generator} any more; give --dataset and --seed")
    made = read_run(generator, stage="fit-generator")
    return dict(made["options"]["dataset"]), int(made["seed"])
