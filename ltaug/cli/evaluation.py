"""`ltaug evaluate-generator`: how good a generator's images are, measured, and the table of what was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from ltaug.cli import dryrun, show
from ltaug.cli.commands import DIRECTORY, RUN, finished, out_option, seed_option
from ltaug.cli.options import SectionCommand, SectionOption, common_options, given, machine, options_of, recipe_options
from ltaug.cli.progress import duration, progress
from ltaug.options import COMPUTING, NETWORKS, READING, EvaluationOptions
from ltaug.records import PAIRS_SHEET, EvaluationRecord


@click.command("evaluate-generator", cls=SectionCommand)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
@options_of(EvaluationOptions, "Evaluation")
@click.option("--weights", type=DIRECTORY, metavar="FILE", cls=SectionOption, section="Evaluation",
              help="the published weights of inception or dinov2 [default: those in the data directory]")  # fmt: skip
@recipe_options
@out_option
@seed_option("another set of images [default: the generator's]")
@common_options(READING, COMPUTING, NETWORKS)
def evaluate_generator(
    generator: Path, out: Path, seed: int | None, weights: Path | None, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Measure a generator's images against real ones: quality, diversity, memorisation.

    \b
    ltaug evaluate-generator runs/gen --out runs/eval
    ltaug evaluate-generator runs/gen --reference test --extractor pixels --out runs/eval-pixels
    ltaug evaluate-generator runs/gen --extractor inception --download --out runs/eval-fid

    Figures of two generators compare only under the same extractor, reference and number of samples.
    """
    options = given(EvaluationOptions, values)
    if values["dry_run"]:
        kwargs = {"generator": generator, "given": options, "seed": seed}
        dryrun.stage("evaluate_generator", out, kwargs, machine(values), as_json=as_json)
        return
    from ltaug import stages

    before = finished(out)
    with progress(quiet=quiet) as listener:
        stages.evaluate_generator(
            generator, options, out=out, seed=seed, weights=weights, machine=machine(values), listener=listener
        )
    _show(out, already_done=before, as_json=as_json)


def _show(out: Path, *, already_done: bool, as_json: bool) -> None:
    """The measures, overall and by group of classes, then what to bear in mind and what was not measured."""
    record = EvaluationRecord.read(out)
    found = record.metrics()
    if as_json:
        show.as_object({"run": str(out), "already_done": already_done, **found})
        return
    from ltaug.metrics.measures import MEASURES

    summary, origin = found["summary"], found["provenance"]
    groups = [g for g in found["groups"] if any(key.endswith(f"/{g}") for key in summary)]
    table = Table("measure", "value", *groups, "better", box=box.SIMPLE_HEAD)
    for key, measure in MEASURES.items():
        if summary.get(key) is not None:
            spread = summary.get(measure.spread)
            value = f"{summary[key]:.4g}" + ("" if spread is None else f" ± {spread:.2g}")
            by_group = (_figure(summary.get(f"{key}/{group}")) for group in groups)
            table.add_row(measure.name, value, *by_group, measure.direction.removesuffix(" is better"))
    show.console().print(table)
    click.echo(
        f"{origin['samples']} generated images against {origin['reference_images']} of {origin['reference']}, "
        f"using {origin['extractor']} features; memorised: using pixels, against the training images."
    )
    for warning in found["warnings"]:
        click.echo(f"Note: {warning}")
    names_of = {key: measure.name for key, measure in MEASURES.items()}
    for reason, names in _unmeasured(summary, found["reasons"], names_of).items():
        click.echo(f"Not measured: {', '.join(names)}: {reason}")
    seconds = sum(record.timings.values())
    click.echo(f"{out} is already done; nothing to do." if already_done else f"{out} is done ({duration(seconds)}).")
    click.echo(f"Look at {out / 'samples.png'} and {out / PAIRS_SHEET}; by class: {out / 'per-class.csv'}")


def _unmeasured(
    summary: Mapping[str, float | None], reasons: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, list[str]]:
    """Reason -> measures without a value; a group only where the whole has one. Single classes are in per-class.csv."""
    found: dict[str, list[str]] = {}
    for key, value in summary.items():
        measure, _, group = key.partition("/")
        if value is None and measure in names and not (group and summary[measure] is None):
            found.setdefault(reasons[key], []).append(names[measure] + (f" of {group}" if group else ""))
    return found


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
