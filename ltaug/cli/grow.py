"""`ltaug grow`: the closed loop of synthesis and cross-fitted classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltaug.cli import dryrun, show
from ltaug.cli.options import (
    RUN,
    SectionCommand,
    common_options,
    given,
    machine,
    option,
    options_of,
    out_option,
    recipe_options,
    workers_option,
)
from ltaug.cli.progress import progress
from ltaug.machine import COMPUTING, NETWORKS, READING
from ltaug.options import ClassifierOptions, SynthesisOptions
from ltaug.pipeline.grow import FOLDS, MAX_ROUNDS, SEEDS, plan_grow
from ltaug.pipeline.grow import grow as grow_images


@click.command("grow", cls=SectionCommand)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
@option("--per-round", type=int, metavar="N", section="Rounds",
        help="synthetic images that a round adds [default: a quarter of what fill:max asks for]")  # fmt: skip
@option("--max-rounds", type=int, metavar="N", default=MAX_ROUNDS, section="Rounds",
        help=f"stop after so many, even while they pay [default: {MAX_ROUNDS}]")  # fmt: skip
@option("--folds", type=int, metavar="N", default=FOLDS, section="Rounds",
        help=f"classifiers of a round, each trained without its part of the real images [default: {FOLDS}]")  # fmt: skip
@option("--seeds", type=int, metavar="N", default=SEEDS, section="Rounds",
        help=f"classifiers of each arm that are tested at the end [default: {SEEDS}]")  # fmt: skip
@options_of(SynthesisOptions, "Synthesis", leave_out="per_class_budget")
@options_of(ClassifierOptions, "Classifier")
@recipe_options
@out_option
@workers_option
@common_options(READING, COMPUTING, NETWORKS)
def grow(generator: Path, out: Path, as_json: bool, quiet: bool, dry_run: bool, **values: Any) -> None:
    """Synthesize in rounds where the classifier errs most, as long as it pays, and report.

    \b
    ltaug grow runs/gen --out runs/grown
    ltaug grow runs/gen --per-round 200 --select-agreement --augment shift-rotate --out runs/grown
    ltaug grow runs/gen --recipe digits-lt --arm cbdm-selected --out runs/grown

    After each round, classifiers predict real training images that they were not trained on. Their errors say which classes
    get the next images. A round that is not shown to raise recall is the last, and its images are not used. Only then are
    classifiers tested, with and without the images. If interrupted, rerun the command to resume.
    """
    asked: dict[str, Any] = {"synthesis": given(SynthesisOptions, values), "classifier": given(ClassifierOptions, values)}
    asked |= {name: values[name] for name in ("per_round", "max_rounds", "folds", "seeds")}
    if dry_run:
        dryrun.tasks(plan_grow(generator, out=out, **asked)[1], machine(values), values["workers"], as_json=as_json)
        return
    with progress(quiet=quiet) as listener:
        made = grow_images(generator, out=out, **asked, workers=values["workers"], machine=machine(values), listener=listener)
    show.report(made, as_json=as_json)
