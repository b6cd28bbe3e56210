"""`ltaug grow`: the closed loop of synthesis and cross-fitted classifiers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ltaug.cli import dryrun, show
from ltaug.cli.options import (
    RUN,
    Decorated,
    SectionCommand,
    common_options,
    engine_option,
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
from ltaug.pipeline import grow as pipeline
from ltaug.pipeline import require_workers
from ltaug.pipeline.grow import Loop

NUMBERS = ("per_round", "max_rounds", "folds", "repeats", "seeds")


def _number(name: str, text: str) -> Callable[[Decorated], Decorated]:
    default = getattr(Loop, name)
    shown = "" if default is None else f" [default: {default}]"
    return option(f"--{name.replace('_', '-')}", type=int, metavar="N", section="Rounds", help=text + shown)


@click.command("grow", cls=SectionCommand)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
@_number("per_round", "synthetic images that a round adds [default: a quarter of what fill:max asks for]")
@_number("max_rounds", "stop after so many rounds, even while they pay")
@_number("folds", "parts of the real images that a classifier is trained without")
@_number("repeats", "how often a round draws the folds, to know how sure its gain is")
@_number("seeds", "classifiers of each arm that are tested at the end")
@options_of(SynthesisOptions, "Synthesis", leave_out="per_class_budget")
@options_of(ClassifierOptions, "Classifier")
@recipe_options
@out_option
@engine_option
@workers_option
@common_options(READING, COMPUTING, NETWORKS)
def grow(generator: Path, out: Path, as_json: bool, quiet: bool, dry_run: bool, **values: Any) -> None:
    """Synthesize in rounds where the classifier errs most, as long as it pays, and report.

    \b
    ltaug grow runs/gen --out runs/grown
    ltaug grow runs/gen --per-round 200 --select-agreement --augment shift-rotate --out runs/grown
    ltaug grow runs/gen --recipe digits-lt --arm cbdm-taught --out runs/grown

    After each round, classifiers predict real training images that they were not trained on. Their errors say which classes
    get the next images. A round that is not shown to raise recall is the last, and its images are not used. Only then are
    classifiers tested, with and without the images. If interrupted, rerun the command to resume.
    """
    asked: dict[str, Any] = {"synthesis": given(SynthesisOptions, values), "classifier": given(ClassifierOptions, values)}
    asked |= {name: values[name] for name in NUMBERS if values[name] is not None}
    workers, engine = values["workers"], values["engine"]
    require_workers(workers, engine)
    if dry_run:
        planned = Loop(generator=generator, out=out, **asked).plan()
        dryrun.tasks(planned, machine(values), workers, as_json=as_json)
        return
    with progress(quiet=quiet) as listener:
        how: dict[str, Any] = {"workers": workers, "machine": machine(values), "listener": listener, "engine": engine}
        made = pipeline.grow(generator, out=out, **asked, **how)
    show.report(made, as_json=as_json)
