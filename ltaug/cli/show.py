"""Results on stdout: for people as text and tables, for programs as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from ltaug.cli.progress import duration
from ltaug.files import read_json
from ltaug.pipeline.plan import Task
from ltaug.records import METRICS_FILE, PAIRS_SHEET, ClassifierRecord, EvaluationRecord
from ltaug.runs import read_run

if TYPE_CHECKING:
    from ltaug.report import Report

PIPE_WIDTH = 160  # columns of a table where there is no terminal to fit it to
CLASSES_SHOWN = 30
HEADLINE = {"macro_recall": "macro recall", "macro_precision": "macro precision", "accuracy": "accuracy"}


def as_object(value: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    click.echo(json.dumps(value, default=str))


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough for a file."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(width=PIPE_WIDTH, highlight=False, no_color=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], **more: Any) -> None:
    """A table without lines between its rows."""
    made = Table(*columns, **{"box": box.SIMPLE_HEAD, **more})
    for row in rows:
        made.add_row(*row)
    console().print(made)


def _end(out: Path, already_done: bool, seconds: float | None = None) -> None:
    took = "" if seconds is None else f" ({duration(seconds)} of work)"
    click.echo(f"{out} is already done; nothing to do." if already_done else f"{out} is done{took}.")


def _run_object(out: Path, already_done: bool, record: Mapping[str, Any]) -> None:
    kept = {key: record[key] for key in ("stage", "seed", "status", "device", "facts", "timings", "outputs")}
    as_object({"run": str(out), "already_done": already_done, **kept})


def stage(out: Path, *, already_done: bool, as_json: bool, then: str) -> None:
    """A stage's run: where it is, how long it took, what it recorded, and what usually comes next."""
    record = read_run(out)
    if as_json:
        _run_object(out, already_done, record)
        return
    if record["status"] != "finished":  # one share of it was made
        click.echo(f"This share is made; {out} is not finished.\nNext: the other shares, then the same command without --part")
        return
    _end(out, already_done, sum(record["timings"].values()))
    click.echo(f"Next: {then}")


def figure(out: Path, *, already_done: bool, as_json: bool) -> None:
    """A drawn figure: how to read it, and where it and its data are."""
    record = read_run(out)
    if as_json:
        _run_object(out, already_done, record)
        return
    _end(out, already_done)
    for note in record["facts"]["notes"]:
        click.echo(f"Note: {note}")
    for name in record["outputs"]:
        click.echo(f"  {out / name}")


def evaluation(out: Path, *, already_done: bool, as_json: bool) -> None:
    """The measures, overall and by group of classes, then what to bear in mind and what was not measured."""
    record = EvaluationRecord.read(out)
    found = record.metrics()
    if as_json:
        as_object({"run": str(out), "already_done": already_done, **found})
        return
    from ltaug.metrics.measures import MEASURES

    summary, origin = found["summary"], found["provenance"]
    groups = [g for g in found["groups"] if any(key.endswith(f"/{g}") for key in summary)]
    rows = []
    for key, measure in MEASURES.items():
        if summary.get(key) is not None:
            spread = summary.get(measure.spread)
            value = f"{summary[key]:.4g}" + ("" if spread is None else f" ± {spread:.2g}")
            by_group = (_figure(summary.get(f"{key}/{group}")) for group in groups)
            rows.append((measure.name, value, *by_group, measure.direction.removesuffix(" is better")))
    table(("measure", "value", *groups, "better"), rows)
    click.echo(
        f"{origin['samples']} generated images against {origin['reference_images']} of {origin['reference']}, "
        f"using {origin['extractor']} features; memorised: using pixels, against the training images."
    )
    for warning in found["warnings"]:
        click.echo(f"Note: {warning}")
    # By reason; of a group only where the whole has a value. Single classes are in per-class.csv.
    unmeasured: dict[str, list[str]] = {}
    for key, value in summary.items():
        name, _, group = key.partition("/")
        if value is None and name in MEASURES and not (group and summary[name] is None):
            unmeasured.setdefault(found["reasons"][key], []).append(MEASURES[name].name + (f" of {group}" if group else ""))
    for reason, names in unmeasured.items():
        click.echo(f"Not measured: {', '.join(names)}: {reason}")
    _end(out, already_done, sum(record.timings.values()))
    click.echo(f"Look at {out / 'samples.png'} and {out / PAIRS_SHEET}; by class: {out / 'per-class.csv'}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def classifiers(out: Path, tasks: Sequence[Task], *, already_done: bool, as_json: bool) -> None:
    """Each arm's mean over its seeds, arms with synthetic images last."""
    arms: dict[str, list[dict[str, float]]] = {}
    for task in sorted(tasks, key=lambda task: task.kwargs["synthetic"] is not None):
        ClassifierRecord.read(task.directory).verify(METRICS_FILE)
        arms.setdefault(task.kwargs["arm"], []).append(read_json(task.directory / METRICS_FILE)["summary"])
    means = {arm: {key: sum(r[key] for r in rows) / len(rows) for key in HEADLINE} for arm, rows in arms.items()}
    if as_json:
        runs = {task.name: str(task.directory) for task in tasks}
        as_object({"out": str(out), "already_done": already_done, "runs": runs, "arms": means})
        return
    shown = ((arm, str(len(rows)), *(f"{value:.3f}" for value in means[arm].values())) for arm, rows in arms.items())
    table(("arm", "seeds", *HEADLINE.values()), shown)
    _end(out, already_done)
    click.echo(f"Next: ltaug report {out} --out DIR")


def report(made: Report, *, as_json: bool) -> None:
    """The recommendation, what it rests on, and where the page is: 12 lines at most where they need not be broken."""
    if as_json:
        as_object({"report": str(made.path / "report.html"), **read_json(made.path / "report.json")})
        return
    screen = console()
    wraps = not sys.stdout.isatty()

    def say(text: str, **more: Any) -> None:
        screen.print(text, markup=False, soft_wrap=wraps, **more)

    say(made.verdict.recommendation.text, style="bold")
    if made.verdict.headline != made.verdict.recommendation.text:
        say(made.verdict.headline)
    for line in made.checks:
        say(line)
    table(*made.brief, box=None, padding=(0, 2, 0, 0), header_style="")
    for generators in made.generators:
        table(*generators.brief, title=generators.title, title_justify="left", title_style="")
    click.echo(f"The report: {made.path / 'report.html'}")


def dataset(found: Mapping[str, Any], *, as_json: bool) -> None:
    """What `ltaug inspect` found out."""
    if as_json:
        as_object(found)
        return
    c, h, w = found["image_shape"]
    train, test, copies = found["train"], found["test"], found["duplicates"]
    click.echo(f"{found['source']}: {len(found['classes'])} classes, images {w} x {h} pixels in {c} channel{'s' * (c != 1)}")
    imbalance = f"the largest class has {found['imbalance']:.3g} times the images of the smallest"
    click.echo(f"{train['images']} training and {test['images']} test images; {imbalance}")
    group_of = {name: group for group, members in found["groups"].items() for name in members}
    most = max(train["per_class"].values())
    rows = [
        (name, str(count), "█" * max(1, round(24 * count / most)), str(test["per_class"][name]), group_of.get(name, ""))
        for name, count in sorted(train["per_class"].items(), key=lambda item: -item[1])
    ]
    if len(rows) > CLASSES_SHOWN:
        half = CLASSES_SHOWN // 2
        rows[half:-half] = [(f"... {len(rows) - 2 * half} more ...", "", "", "", "")]
    table(("class", "train", "", "test", "group"), rows)
    click.echo(f"Groups: {found['groups_rule']}")
    click.echo(f"Exact copies: {copies['within_train']} within training, {copies['test_in_train']} between test and training")
    for note in found["notes"]:
        click.echo(f"Note: {note}")
