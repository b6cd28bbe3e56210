"""What has to be done: a recipe, or a classifier comparison, as stage calls with directories and dependencies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.errors import MismatchError, OptionError
from ltaug.fields import read_of
from ltaug.files import read_json
from ltaug.looks import require_seeds
from ltaug.options import (
    EvaluationOptions,
    SamplingOptions,
    fit_judges_needed,
    judge_options,
    judges_needed,
    judging,
    teachers_needed,
)
from ltaug.recipes import CONTROL, Arm, Recipe
from ltaug.records import GeneratorRecord, SynthesisRecord
from ltaug.runs import RUN_FILE

Given = dict[str, Any]
# Function of ltaug.stages -> the stage whose options it takes.
STAGE_OF = {
    "fit_generator": "fit-generator",
    "evaluate_generator": "evaluate-generator",
    "train_extractor": "train-classifier",
    "synthesize": "synthesize",
    "train_judge": "train-classifier",
    "train_classifier": "train-classifier",
    "cross_fit": "train-classifier",
}
WITH_SYNTHETIC = "real+synthetic"  # what classifiers with synthetic images are called unless the user says otherwise
LOCK_PATIENCE = 10.0  # seconds: the workers of a killed parent take a moment to let go of their runs


@dataclass(frozen=True)
class Task:
    """One call of a function of ltaug.stages; machine and listener, which every stage gets, are added to `kwargs`.

    `name` is the run directory relative to the whole output, which is also its label in progress; `needs` are the names of
    the tasks whose results it reads.
    """

    name: str
    function: str
    kwargs: Mapping[str, Any]
    needs: tuple[str, ...]
    directory: Path

    @property
    def finished(self) -> bool:
        """Whether its run directory says so; whether it is still the same run is the stage's to check.

        Raises:
            CorruptError: run.json is damaged.
        """
        path = self.directory / RUN_FILE
        if not path.exists():
            return False
        record = read_json(path)
        return isinstance(record, dict) and record.get("status") == "finished"


def plan(recipe: Recipe, out: Path, seeds: int | None = None, *, first_seed: int = 0) -> list[Task]:
    """The recipe's stages for every seed, each after what it needs, and the report last.

    Seed S goes to the draw, the generator and the classifier alike. Stages that the recipe describes equally in
    several arms of a seed are done once, in the directory of the first arm that needs them. Arms with synthetic images
    get the controls that `Recipe.controls` names. Where generators are evaluated, one classifier of the set before the
    draw looks at those of all seeds.

    Args:
        seeds: how many; None takes the recipe's number.
    """
    tasks: list[Task] = []
    extractor = _plan_extractor(recipe, out)
    number = recipe.seeds if seeds is None else seeds
    require_seeds(number, "--seeds")
    for seed in range(first_seed, first_seed + number):
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
    trained: Given = {"dataset": recipe.dataset, "seed": 0, **judging(recipe.baseline_training)}
    return task_below(out, "extractor", "train_extractor", trained)


def task_below(out: Path, name: str, function: str, kwargs: Given, needs: Sequence[Task] = ()) -> Task:
    """A stage call whose run goes to `name` below `out`."""
    kwargs = {**kwargs, "out": out / name, "label": name, "wait": LOCK_PATIENCE}
    return Task(name, function, kwargs, tuple(n.name for n in needs), out / name)


def _looks_with_ours(given: Given) -> bool:
    return bool(given.get("extractor", EvaluationOptions.extractor) == EvaluationOptions.extractor)


def _plan_seed(recipe: Recipe, out: Path, seed: int, extractor: Task | None) -> list[Task]:
    """One seed's judges, then each arm's stages."""
    tasks: dict[str, Task] = {}  # by what they are asked: equal stages are done once

    def add(name: str, function: str, kwargs: Given, needs: Sequence[Task] = ()) -> Task:
        key = json.dumps([function, kwargs], default=str, sort_keys=True)
        if key not in tasks:
            tasks[key] = task_below(out, f"seed-{seed}/{name}", function, {**kwargs, "seed": seed}, needs)
        return tasks[key]

    by_name = {arm.name: arm for arm in recipe.arms}

    def fit(arm: Arm) -> Task:
        """The arm's generator, after the one it starts from and the judges it asks."""
        asked: Given = {"dataset": recipe.dataset, "given": recipe.given(arm, "fit-generator")}
        sources = [fit(by_name[arm.source])] if arm.source else []
        if sources:
            asked["source"] = sources[0].directory
        if mine := judges[: fit_judges_needed(asked["given"])]:
            asked["judges"] = [judge.directory for judge in mine]
        return add(f"{arm.name}/generator", "fit_generator", asked, [*sources, *mine])

    def evaluate(arm: Arm, generator: Task) -> None:
        """The arm's generator measured, sampled as for synthesis unless the recipe says otherwise."""
        sampled = {k: v for k, v in recipe.given(arm, "synthesize").items() if k in SamplingOptions.__dataclass_fields__}
        own = recipe.given(arm, "evaluate-generator")
        asked: Given = {"generator": generator.directory, "given": read_of(EvaluationOptions, sampled, beside=own) | own}
        needs = [generator]
        if extractor is not None and _looks_with_ours(asked["given"]):
            asked["extractor_run"] = extractor.directory
            needs.append(extractor)
        add(f"{arm.name}/evaluation", "evaluate_generator", asked, needs)

    def train(name: str, about: str, arm: Arm, needs: Sequence[Task], **added: Path | None) -> None:
        """A classifier, trained as the arm says."""
        given = recipe.given(arm, "train-classifier")
        asked: Given = {"dataset": recipe.dataset, "given": given, **added}
        if mine := judges[: teachers_needed(given, synthetic=arm.synthetic)]:
            asked["teachers"] = [teacher.directory for teacher in mine]
        add(f"{name}/classifier", "train_classifier", {**asked, "arm": name, "about": about}, [*needs, *mine])

    controls, plain = recipe.controls(), recipe.baseline_training
    taught = [teachers_needed(recipe.given(arm, "train-classifier"), synthetic=arm.synthetic) for arm in recipe.arms]
    fitted = [fit_judges_needed(recipe.given(arm, "fit-generator")) for arm in recipe.arms if arm.synthetic]
    wanted = max([*taught, *fitted, *(_judges(recipe, arm) for arm in recipe.arms)], default=0)
    judged: Given = {"dataset": recipe.dataset, **judging(plain)}
    judges = [add(f"judges/judge-{i}", "train_judge", {**judged, "index": i}) for i in range(wanted)]
    for arm in recipe.arms:
        if not arm.synthetic:
            train(arm.name, arm.about, arm, [], synthetic=None)
            continue
        generator = fit(arm)
        if recipe.evaluates(arm):
            evaluate(arm, generator)
        mine = judges[: _judges(recipe, arm)]
        asked: Given = {
            "generator": generator.directory,
            "given": recipe.given(arm, "synthesize"),
            "judges": [j.directory for j in mine] or None,
        }
        synthetic = add(f"{arm.name}/synthetic", "synthesize", asked, [generator, *mine])
        if arm.name in controls:
            about = _about_control(arm.name, own_training=recipe.given(arm, "train-classifier") != plain)
            train(controls[arm.name], about, arm, [synthetic], synthetic=None, resampled_to=synthetic.directory)
        train(arm.name, arm.about, arm, [synthetic], synthetic=synthetic.directory)
    return list(tasks.values())


def _judges(recipe: Recipe, arm: Arm) -> int:
    """How many judges the arm's selection asks for."""
    return judges_needed(recipe.given(arm, "synthesize")) if arm.synthetic else 0


def _about_control(arm: str, *, own_training: bool = False) -> str:
    """What a report says of the control that takes its class counts from `arm`."""
    return f"real images resampled to the class counts of {arm}{', trained as it is' if own_training else ''}"


def check_of(tasks: Sequence[Task]) -> Task:
    """The check of everything that these tasks are asked to do, before any of them begins."""
    asked = [described(task, tasks) for task in tasks if task.function in STAGE_OF]
    distinct = list({json.dumps(one, default=str, sort_keys=True): one for one in asked}.values())
    seed = min((int(t.kwargs.get("draw_seed", t.kwargs["seed"])) for t in tasks if t.function in STAGE_OF), default=0)
    return Task("check", "check_stages", {"asked": distinct, "seed": seed}, (), Path())


def plan_classifiers(
    dataset: Given,
    given: Given,
    *,
    out: Path,
    seeds: int,
    seed: int = 0,
    synthetic: Path | None,
    arm: str,
    baseline: bool = True,
    teachers: Sequence[Path] = (),
) -> list[Task]:
    """Classifiers with and without one set of synthetic images, and their control, over several seeds of one draw.

    Those with synthetic images come first, so that images which cannot be used are refused before anything is trained.

    Args:
        synthetic: a synthesize run, or images of any origin (data.given).
        seed: the draw's seed (a generator's, where its images are added) and the first classifier's.
        arm: what the classifiers with synthetic images are called; without, they are called "real", and on real images
            resampled to the same class counts "resampled", or "resampled-ARM" if `arm` is not WITH_SYNTHETIC, so that one
            report can compare several sets of images, each with its own control.
        baseline: whether to train the two others as well.
        teachers: classifier runs on the same draw, for distillation. Without, the judges of the synthesis teach, and where it has
            none those that the options ask for are trained first.

    Raises:
        OptionError: `arm` is what one of the others may be called; teachers that nothing asks for; too many seeds.
    """
    require_seeds(seeds, "--seeds")
    real: Given = {"arm": "real", "synthetic": None}
    name = CONTROL if arm == WITH_SYNTHETIC else f"{CONTROL}-{arm}"
    control = {"arm": name, "about": _about_control(arm), "synthetic": None, "resampled_to": synthetic}
    arms = [real] if synthetic is None else [{"arm": arm, "synthetic": synthetic}, *([real, control] if baseline else [])]
    if baseline and synthetic is not None and (arm == "real" or arm.startswith(CONTROL)):
        raise OptionError(f"--arm-name {arm!r} is what classifiers without synthetic images are called; use another name")
    needed = teachers_needed(given, synthetic=synthetic is not None)
    if teachers and not needed:
        raise OptionError("--teacher is read only with --distill synthetic (and --synthetic), real or all; leave it out")
    teachers = teachers or _judges_behind(synthetic)[:needed]
    planned = range(0 if teachers else needed)
    judged: Given = {"dataset": dataset, "seed": seed, **judging(given)}
    judges = [task_below(out, f"judges/judge-{i}", "train_judge", {**judged, "index": i}) for i in planned]
    teaching = list(teachers) or [judge.directory for judge in judges]
    tasks = list(judges)
    for s in range(seed, seed + seeds):
        for own in arms:
            added = own.get("synthetic") or own.get("resampled_to")
            asked: Given = {"dataset": dataset, "given": given, **own, "seed": s, "draw_seed": seed}
            taught = bool(teachers_needed(given, synthetic=added is not None))
            asked |= {"teachers": teaching} if taught else {}
            tasks.append(task_below(out, f"{own['arm']}/seed-{s}", "train_classifier", asked, judges if taught else ()))
    return tasks


def _judges_behind(synthetic: Path | None) -> list[Path]:
    """The judges of a synthesize run, where all still lie there."""
    if synthetic is None or not (synthetic / RUN_FILE).is_file():
        return []
    judges = SynthesisRecord.read(synthetic).judges()
    return [] if None in judges else [judge.path for judge in judges if judge is not None]


def origin(synthetic: Path, dataset: Given, seed: int | None) -> tuple[Given, int]:
    """The dataset options and the draw's seed that synthetic images belong to.

    Args:
        synthetic: a synthesize run, or images of any origin (data.given).
        dataset, seed: as given; what is not is that of the run's generator, or 0.

    Raises:
        OptionError: images of which nothing says what dataset they belong to.
        DataError: neither a run nor images.
        MismatchError: a run of another stage, or its generator is no longer where it says.
    """
    if not (synthetic / RUN_FILE).is_file():
        from ltaug.data.given import form_of  # loads numpy

        form_of(synthetic)
        if "dataset" not in dataset:
            unknown = f"{synthetic} is not a synthesize run, so nothing says which dataset its images belong to"
            raise OptionError(f"{unknown}; give --dataset, with the options and the --seed of its draw")
        return dataset, seed or 0
    record = SynthesisRecord.read(synthetic)
    if dataset and seed is not None:
        return dataset, seed
    made = record.generator()
    if made is None:
        lay = record.generator_run.path
        raise MismatchError(f"the generator of {synthetic} is not at {lay} any more; give --dataset and --seed")
    return dataset or dataclasses.asdict(made.dataset), made.seed if seed is None else seed


def described(task: Task, planned: Sequence[Task]) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """Stage, dataset options, stage options, and those of the generator that is sampled from."""
    published = task.kwargs.get("published") or {}
    name, given = STAGE_OF[task.function], dict(task.kwargs.get("given", judge_options(0, small=False, published=published)))
    if "generator" not in task.kwargs:
        dataset, source = dict(task.kwargs["dataset"]), task.kwargs.get("source")
        if source is None:
            return name, dataset, given, None
        from ltaug.generator.finetune import with_network_of  # loads numpy

        drawn, network = _generator_of(source, planned)
        return name, dataset or drawn, with_network_of(network, given, name=str(source)), None
    dataset, network = _generator_of(task.kwargs["generator"], planned)
    return name, dataset, given, network


def _generator_of(directory: Path, planned: Sequence[Task]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Dataset options and GeneratorOptions of a generator that is planned or has been fitted."""
    task = next((t for t in planned if t.directory == directory), None)
    if task is not None:
        return described(task, planned)[1:3]
    made = GeneratorRecord.read(directory)
    return dataclasses.asdict(made.dataset), dataclasses.asdict(made.options)
