"""`ltaug plan RECIPE`: the stages of `ltaug run RECIPE` as command lines, for those who have an engine; and one stage alone."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ltaug.cli import show
from ltaug.cli.options import DIRECTORY, Decorated, SectionCommand, common_options, machine, option
from ltaug.cli.progress import progress
from ltaug.errors import OptionError, nearest
from ltaug.machine import COMPUTING, FITTING, NETWORKS, READING, Machine
from ltaug.pipeline import claim
from ltaug.pipeline.local import settled
from ltaug.pipeline.plan import LOCK_PATIENCE, Task, plan
from ltaug.pipeline.run import run_tasks
from ltaug.recipes import Recipe, read_recipe, recipe_path, shipped_recipes
from ltaug.records import REPORT_FILE
from ltaug.runs import RUN_FILE

Stage = dict[str, Any]  # of a plan, as --json has it


def experiment_options(function: Decorated) -> Decorated:
    """What says which experiment it is, and where its runs go."""
    for decorate in (
        option("--out", type=DIRECTORY, metavar="DIR", help="where all runs go [default: runs/RECIPE]"),
        option("--first-seed", type=click.IntRange(min=0), metavar="N", default=0, help="seeds count from here [default: 0]"),
        option("--seeds", type=click.IntRange(min=1), metavar="N", help="how often to repeat [default: the recipe's]"),
        option("--dataset", metavar="TEXT", help="other images in the recipe's place, such as folder:PATH"),
        click.argument("recipe", shell_complete=lambda _, __, typed: [r for r in shipped_recipes() if r.startswith(typed)]),
    ):
        function = decorate(function)
    return function


def read_experiment(recipe: str, values: Mapping[str, Any]) -> tuple[Recipe, Path]:
    """The recipe of these flags, and where its runs go."""
    experiment = read_recipe(recipe_path(recipe))
    if values["dataset"] is not None:
        experiment = dataclasses.replace(experiment, dataset=experiment.dataset | {"dataset": values["dataset"]})
    return experiment, values["out"] or Path("runs") / experiment.name


@click.command("plan", cls=SectionCommand)
@experiment_options
@option("--snakemake", is_flag=True, help="as a Snakefile")
@common_options(READING, COMPUTING, NETWORKS, FITTING, dry_run=False, writes=False)
def plan_recipe(recipe: str, seeds: int | None, first_seed: int, snakemake: bool, as_json: bool, **values: Any) -> None:
    """List the stages of an experiment, each with its command, the stages that it needs, its output and what it takes.

    \b
    ltaug plan digits-lt
    ltaug plan folder --dataset folder:birds --out runs/birds --device cuda --json
    ltaug plan digits-lt --snakemake > Snakefile && snakemake --cores 8

    Each command may run on its own, on any machine with the same files, once the stages that it needs are done.
    """
    if snakemake and as_json:
        raise OptionError("--snakemake and --json are two forms of the same plan; leave one of them out")
    experiment, out = read_experiment(recipe, values)
    given = {"--dataset": values["dataset"], "--seeds": seeds, "--first-seed": first_seed or None}
    words = ["ltaug", "run", recipe, *(str(word) for pair in given.items() if pair[1] is not None for word in pair)]
    from ltaug.stages.remaking import flags

    words += ["--out", str(out), *flags(Machine, dataclasses.asdict(machine(values)))]
    where, _ = settled(machine(values))
    takes = {"gpu": int(where.device == "cuda"), "threads": where.threads}
    stages: list[Stage] = [
        {
            "name": task.name,
            "argv": [*words, "--stage", task.name],
            "needs": task.needs,
            "outputs": [str(task.directory / (REPORT_FILE if task.function == "write_report" else RUN_FILE))],
            "resources": takes,
        }
        for task in plan(experiment, out, seeds, first_seed=first_seed)
    ]
    if as_json:
        show.as_object({"recipe": experiment.name, "out": str(out), "stages": stages})
        return
    if snakemake:
        click.echo(_snakefile(stages, done=f"{out}.done"))
        return
    for stage in stages:
        click.echo(shlex.join(stage["argv"]))


def _snakefile(stages: Sequence[Stage], *, done: str) -> str:
    """A rule for every stage, with an empty file below `done` as its output.

    A run's own files are none of Snakemake's outputs, since it removes those before it repeats a rule: a stage could not resume.
    """
    files = {stage["name"]: re.sub(r"[{}]", "_", f"{done}/{stage['name']}.done") for stage in stages}  # {name}: a wildcard
    rules = [f"rule all:\n    input: {files[stages[-1]['name']]!r}"]
    for number, stage in enumerate(stages):
        name, needs, takes = stage["name"], [files[need] for need in stage["needs"]], stage["resources"]
        command = shlex.join(stage["argv"]).replace("{", "{{").replace("}", "}}")
        rules.append(
            f"rule stage_{number}_{re.sub(r'[^a-zA-Z0-9]+', '_', name)}:\n"
            f"    input: {needs!r}\n"
            f"    output: touch({files[name]!r})\n"
            f"    threads: {takes['threads'] or 1}\n"
            f"    resources: gpu={takes['gpu']}\n"
            f"    shell: {command!r}"
        )
    return "\n\n".join(rules)


def run_stage(name: str, planned: Sequence[Task], out: Path, what: str, values: Mapping[str, Any]) -> None:
    """Run one stage of a plan as `ltaug run` does, beside other processes that run others.

    Args:
        out, what: for the claim.
        values: the command's flags.

    Raises:
        OptionError: the plan has no such stage, a stage that it needs is not finished, or options that it does not read.
    """
    others = ("workers", "engine", "dry_run", "until_decided", "max_seeds")
    if unread := [f"--{flag.replace('_', '-')}" for flag in others if values[flag]]:
        raise OptionError(f"{', '.join(unread)} is not read with --stage; leave it out")
    tasks = {task.name: task for task in planned}
    if name not in tasks:
        raise OptionError(f"--stage {name!r} is not in the plan; {nearest(name, tasks)}")
    if missing := [need for need in tasks[name].needs if not tasks[need].finished]:
        raise OptionError(f"--stage {name} needs {', '.join(missing)}, not finished yet; run that first, with the same --out")
    task = dataclasses.replace(tasks[name], needs=())
    with claim(out, what, [task], wait=LOCK_PATIENCE):
        pass  # others may work there too: each run has a lock of its own
    with progress(quiet=values["quiet"]) as listener:
        run_tasks([task], workers=1, machine=machine(values), listener=listener)
    if values["as_json"]:
        show.as_object({"stage": name, "run": str(task.directory)})
    else:
        click.echo(f"{task.directory} is done.")
