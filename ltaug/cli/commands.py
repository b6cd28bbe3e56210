"""The commands. Each reads its options, calls the stage or the pipeline, and shows the result.

Stages load torch, so they are imported inside the commands: help, errors and the parent of `ltaug run` stay light.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from ltaug.cli import dryrun, show
from ltaug.cli.options import (
    DIRECTORY,
    RUN,
    SectionCommand,
    ShareType,
    common_options,
    engine_option,
    given,
    machine,
    option,
    options_of,
    out_option,
    recipe_options,
    require_source,
    seed_option,
    workers_option,
)
from ltaug.cli.planning import experiment_options, read_experiment, run_stage
from ltaug.cli.progress import progress
from ltaug.cli.together import carry_out, require_sharing
from ltaug.errors import OptionError
from ltaug.looks import MAX_SEEDS, looks
from ltaug.machine import COMPUTING, FITTING, NETWORKS, READING
from ltaug.methods import dataset_names
from ltaug.options import (
    ClassifierOptions,
    DatasetOptions,
    EvaluationOptions,
    GeneratorOptions,
    SynthesisOptions,
    fit_judges_needed,
)
from ltaug.pipeline import require_workers, run_planned, run_recipe, run_until_decided
from ltaug.pipeline.parts import PART, hired, workers_for
from ltaug.pipeline.plan import WITH_SYNTHETIC, origin, plan, plan_classifiers

EPILOG = """\b
A whole experiment:      ltaug run digits-lt
The same by hand:        ltaug fit-generator, synthesize, train-classifier, report
For other trainers:      ltaug export
For an engine:           ltaug plan
A generator by itself:   ltaug evaluate-generator
Recipes in an editor:    ltaug schema
Is all still whole:      ltaug check; without what is no longer needed: ltaug clean
Is this machine fit:     ltaug doctor
Options by environment:  LTAUG_COMMAND_OPTION, such as LTAUG_FIT_GENERATOR_STEPS=500; LTAUG_DEVICE for all commands
Tab completion in bash:  eval "$(_LTAUG_COMPLETE=bash_source ltaug)"  (or zsh_source, fish_source)
Exit codes:              0 done, 2 option, 3 data, 4 budget, 5 mismatch, 6 directory taken, 7 damaged file,
                         8 worker lost, 9 test images leaked, 10 disk or memory, 130 interrupted (rerun to resume),
                         1 anything else
"""


@click.group(
    name="ltaug",
    epilog=EPILOG,
    context_settings={"auto_envvar_prefix": "LTAUG", "help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="ltaug", message="%(prog)s %(version)s")
def group() -> None:
    """Will synthetic tail images make a classifier of an imbalanced set better, by how much, and can that be trusted?"""
    require_sharing(click.get_current_context().invoked_subcommand)


@group.command("fit-generator", cls=SectionCommand)
@options_of(DatasetOptions, "Dataset")
@options_of(GeneratorOptions, "Generator")
@option("--from", "source", type=RUN, metavar="RUN", section="Generator",
              help="go on from a finished generator run: its network, and its dataset unless given")  # fmt: skip
@option("--judge", "judge_runs", type=RUN, multiple=True, metavar="RUN", section="Generator",
              help="with +aid: a classifier run of the real images, repeatable [default: one is trained here]")  # fmt: skip
@recipe_options
@out_option
@seed_option("varies the draw and the training [default: that of --from, or 0]")
@common_options(READING, COMPUTING, NETWORKS, FITTING)
def fit_generator(source: Path | None, judge_runs: tuple[Path, ...], seed: int | None, **values: Any) -> None:
    """Train a class-balancing diffusion model on a long-tailed set.

    \b
    ltaug fit-generator --dataset digits --imbalance 100 --objective cbdm --out runs/gen
    ltaug fit-generator --dataset folder:birds --image-size 32 --out runs/birds --dry-run
    ltaug fit-generator --recipe digits-lt --arm cbdm --out runs/gen
    ltaug fit-generator --from runs/gen --objective cbdm+coral --steps 1000 --out runs/tuned

    If interrupted, rerun the command to resume. With --from, classes are matched by name: the dataset may have
    more of them, fewer, or the same in another order.
    """
    options = given(GeneratorOptions, values | {"source": source})
    asked: dict[str, Any] = {"dataset": given(DatasetOptions, values), "given": options, "source": source, "seed": seed}
    asked["judges"] = list(judge_runs) or None
    fit_judges_needed(options, judge_runs)
    require_source(source)
    carry_out("fit_generator", asked, values, partial(show.stage, then=f"ltaug synthesize {values['out']} --out DIR"))


@group.command("synthesize", cls=SectionCommand)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
@options_of(SynthesisOptions, "Synthesis")
@recipe_options
@out_option
@seed_option("another set of images [default: the generator's]")
@option(
    "--judge", "judge_runs", type=RUN, multiple=True, metavar="RUN", section="Synthesis",
    help="a classifier run to judge with, repeatable [default: trained here where an option asks for judges]",
)  # fmt: skip
@option("--part", type=ShareType(), metavar="I/N",
              help="make the I-th of N shares and stop, such as 3/16; without it, the same command makes what is "
                   "missing and finishes")  # fmt: skip
@option("--workers", type=click.IntRange(min=1), metavar="N", help="processes that make parts [default: one a GPU]")
@engine_option
@common_options(READING, COMPUTING, NETWORKS)
def synthesize(generator: Path, seed: int | None, judge_runs: tuple[Path, ...], **values: Any) -> None:
    """Generate images, choose among them, and write class folders and a manifest.

    \b
    ltaug synthesize runs/gen --per-class-budget fill:max --out runs/syn
    ltaug synthesize runs/gen --per-class-budget 500 --select-agreement --select-distance --out runs/syn
    ltaug synthesize runs/gen --start confusable --strength 0.5 --choose-guidance 0,0.5,1,2,4 --out runs/syn
    ltaug synthesize runs/gen --per-class-budget 1300 --part $SLURM_ARRAY_TASK_ID/16 --out /shared/syn

    Image 17 of a class is the same whatever the budget, the batch size, the number of interruptions or of processes. If
    interrupted, rerun the command to resume.
    """
    options, judges = given(SynthesisOptions, values), list(judge_runs) or None
    asked = {"generator": generator, "given": options, "seed": seed, "judges": judges, "part": values["part"]}
    workers, engine = values["workers"], values["engine"]
    require_workers(workers, engine)
    if values["part"] is not None and (workers or engine or values["dry_run"]):
        raise OptionError("--part is made by this process alone; leave out --workers, --engine and --dry-run")
    if values["part"] is None and not values["dry_run"] and (number := workers_for(machine(values), workers, engine)):
        how = {"machine": machine(values), "workers": number, "engine": engine}
        asked["hire"] = partial(hired, out=values["out"], size=options.get("sample_batch") or PART, **how)
    then = f"ltaug train-classifier --synthetic {values['out']} --seeds 5 --out DIR"
    carry_out("synthesize", asked, values, partial(show.stage, then=then))


@group.command("evaluate-generator", cls=SectionCommand)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
@options_of(EvaluationOptions, "Evaluation")
@option("--weights", type=DIRECTORY, metavar="FILE", section="Evaluation",
              help="the published weights of inception or dinov2 [default: those in the data directory]")  # fmt: skip
@recipe_options
@out_option
@seed_option("another set of images [default: the generator's]")
@common_options(READING, COMPUTING, NETWORKS)
def evaluate_generator(generator: Path, seed: int | None, weights: Path | None, **values: Any) -> None:
    """Measure a generator's images against real ones: quality, diversity, memorisation.

    \b
    ltaug evaluate-generator runs/gen --out runs/eval
    ltaug evaluate-generator runs/gen --reference test --extractor pixels --out runs/eval-pixels
    ltaug evaluate-generator runs/gen --extractor inception --download --out runs/eval-fid

    Figures of two generators compare only under the same extractor, reference and number of samples.
    """
    asked = {"generator": generator, "given": given(EvaluationOptions, values), "seed": seed, "weights": weights}
    carry_out("evaluate_generator", asked, values, show.evaluation)


@group.command("train-classifier", cls=SectionCommand)
@options_of(DatasetOptions, "Dataset")
@options_of(ClassifierOptions, "Classifier")
@option("--synthetic", type=click.Path(path_type=Path, exists=True), metavar="PATH", section="Comparison",
              help="images to add: a synthesize run, or any others as class folders, .npz or WebDataset shards")  # fmt: skip
@option("--teacher", "teachers_given", type=RUN, multiple=True, section="Classifier", metavar="RUN",
              help="with --distill: a classifier of the real images; repeatable [default: the judges, or trained]")  # fmt: skip
@option("--seeds", type=click.IntRange(min=1), metavar="N", default=1, section="Comparison",
              help="classifiers to train of each arm [default: 1]")  # fmt: skip
@option("--arm-name", default=WITH_SYNTHETIC, show_default=True, section="Comparison",
              help="what the classifiers with synthetic images are called")  # fmt: skip
@option("--baseline/--no-baseline", default=True, section="Comparison",
              help="with --synthetic: train on the real images alone, and on real images resampled to the same "
                   "class counts, as well [default: yes]")  # fmt: skip
@seed_option("of the draw [default: the generator's, or 0]")
@workers_option
@engine_option
@recipe_options
@out_option
@common_options(READING, COMPUTING, NETWORKS)
def train_classifier(out: Path, synthetic: Path | None, as_json: bool, quiet: bool, dry_run: bool, **values: Any) -> None:
    """Train classifiers with and without synthetic images, over several seeds.

    \b
    ltaug train-classifier --dataset digits --imbalance 100 --out runs/real
    ltaug train-classifier --synthetic runs/syn --seeds 5 --out runs/clf
    ltaug train-classifier --synthetic runs/syn --loss logit-adjusted --arm-name both --out runs/both
    ltaug train-classifier --dataset folder:birds --image-size 32 --synthetic vendor/birds --out runs/vendor

    With --synthetic RUN the dataset is the generator's unless given. Images that show test images are refused. Runs go to
    DIR/ARM/seed-S. All arms take the same number of steps.
    """
    dataset, options = given(DatasetOptions, values), given(ClassifierOptions, values)
    require_workers(values["workers"], values["engine"])
    seed = values["seed"]
    if synthetic is not None:
        dataset, seed = origin(synthetic, dataset, seed)
    elif options.get("distill") == "synthetic":
        raise OptionError("--distill synthetic needs synthetic images; give --synthetic, or --distill real")
    tasks = plan_classifiers(
        dataset, options, out=out, seeds=values["seeds"], seed=seed or 0, synthetic=synthetic,
        arm=values["arm_name"], baseline=values["baseline"], teachers=values["teachers_given"],
    )  # fmt: skip
    if dry_run:
        dryrun.tasks(tasks, machine(values), values["workers"], as_json=as_json)
        return
    before = all(task.finished for task in tasks)
    with progress(quiet=quiet) as listener:
        how: dict[str, Any] = {"workers": values["workers"], "machine": machine(values), "engine": values["engine"]}
        run_planned(tasks, out=out, what="train-classifier", listener=listener, **how)
    show.classifiers(out, tasks, already_done=before, as_json=as_json)


@group.command("report", cls=SectionCommand)
@click.argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN...")
@option(
    "--baseline",
    metavar="ARM",
    help="the arm to compare with [default: real, or an arm that starts from the same weights as those with images]",
)
@option("--primary", metavar="NAME", help="claims are about macro_recall or macro_precision first [default: macro_recall]")
@option("--title", help="the report's heading")
@option("--published", metavar="NAME",
              help="the papers' results to show: cifar100-lt or cifar10-lt [default: by the runs' dataset]")  # fmt: skip
@out_option
@common_options(READING, dry_run=False)
def report(runs: tuple[Path, ...], out: Path, as_json: bool, quiet: bool, **values: Any) -> None:
    """Compare classifier runs, arm by arm over seeds, in report.html, .md and .json.

    \b
    ltaug report runs/clf --out runs/report
    ltaug report runs/clf runs/eval --out runs/report
    ltaug report runs/real runs/both --baseline real --out runs/report

    Directories are searched with everything below them, for evaluations of generators too.
    """
    from ltaug import stages

    with progress(quiet=quiet) as listener:
        named = {key: values[key] for key in ("baseline", "primary", "title", "published")}
        made = stages.write_report(list(runs), out=out, **named, machine=machine(values), listener=listener)
    show.report(made, as_json=as_json)


@group.command("run", cls=SectionCommand)
@experiment_options
@option("--until-decided", is_flag=True,
              help="repeat until the verdict is decided: look at it after 3, 5 and 10 seeds, and --max-seeds")  # fmt: skip
@option("--max-seeds", type=click.IntRange(min=1), metavar="N",
              help=f"with --until-decided: the last look [default: {MAX_SEEDS}]")  # fmt: skip
@option("--stage", metavar="NAME", help="only this one of the stages that `ltaug plan` lists; those that it needs must be done")
@engine_option
@workers_option
@common_options(READING, COMPUTING, NETWORKS, FITTING)
def run(recipe: str, seeds: int | None, max_seeds: int | None, stage: str | None, as_json: bool, **values: Any) -> None:
    """Run a whole experiment: every arm of a recipe over several seeds, and the report.

    RECIPE is a .toml file or the name of a recipe that comes with ltaug.

    \b
    ltaug run digits-lt
    ltaug run recipes/digits-lt.toml --seeds 5 --out runs/five
    ltaug run digits-lt --until-decided --max-seeds 20
    ltaug run folder --dataset folder:birds --dry-run
    ltaug run my.toml

    What is finished is skipped; if interrupted, rerun the command to resume.
    """
    experiment, out = read_experiment(recipe, values)
    if stage is not None:
        tasks = plan(experiment, out, seeds, first_seed=values["first_seed"])
        run_stage(stage, tasks, out, f"run {experiment.name}", values | {"as_json": as_json, "max_seeds": max_seeds})
        return
    turns = _looks(seeds, max_seeds, until_decided=values["until_decided"])
    workers, first_seed, engine = values["workers"], values["first_seed"], values["engine"]
    require_workers(workers, engine)
    if values["dry_run"]:
        planned = [plan(experiment, out, n, first_seed=first_seed) for n in turns or (seeds,)]
        dryrun.tasks(planned[-1], machine(values), workers, as_json=as_json, first=planned[0] if turns else ())
        return
    with progress(quiet=values["quiet"]) as listener:
        how: dict[str, Any] = {"first_seed": first_seed, "workers": workers, "machine": machine(values), "engine": engine}
        how["listener"] = listener
        if turns:
            made = run_until_decided(experiment, out=out, max_seeds=turns[-1], **how)
        else:
            made = run_recipe(experiment, out=out, seeds=seeds, **how)
    show.report(made, as_json=as_json)


def _looks(seeds: int | None, max_seeds: int | None, *, until_decided: bool) -> tuple[int, ...]:
    """The looks of --until-decided, none without it; OptionError where the options do not go together."""
    if not until_decided:
        if max_seeds is not None:
            raise OptionError(f"--max-seeds {max_seeds} is read only with --until-decided; add that, or give --seeds instead")
        return ()
    if seeds is not None:
        raise OptionError(f"--seeds {seeds} does not go with --until-decided, which counts itself; limit it with --max-seeds")
    return looks(MAX_SEEDS if max_seeds is None else max_seeds)


@group.command("inspect", cls=SectionCommand, epilog=f"DATASET: {dataset_names()}.")
@click.argument("name", metavar="DATASET")
@options_of(DatasetOptions, "Dataset", leave_out="dataset")
@seed_option("varies the draw and the training [default: 0]", default=0)
@common_options(READING, dry_run=False, writes=False)
def inspect(name: str, seed: int, as_json: bool, **values: Any) -> None:
    """Look at a dataset: counts, many/medium/few, imbalance, duplicates, bad files.

    \b
    ltaug inspect digits --imbalance 100
    ltaug inspect folder:birds --image-size 32
    """
    dataset = given(DatasetOptions, values | {"dataset": name})
    from ltaug import stages

    show.dataset(stages.inspect(dataset, seed=seed, machine=machine(values)), as_json=as_json)
