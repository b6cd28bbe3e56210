"""A report as files: the page, its JSON and its Markdown; each is written whole or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ltaug.files import atomic_write, write_json
from ltaug.report import wording
from ltaug.report.document import Report
from ltaug.report.generators import GeneratorTable

MANY_CLASSES = 30  # above this the tables show groups of classes; report.json keeps every class
SCHEMA = 1
FILTERS = ("plain", "signed", "interval_text", "metric_name", "setting", "several", "count")


def write_report(report: Report) -> None:
    """Write report.html, report.md and report.json into the report's directory, the last one last."""
    report.path.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.html", to_html(report)), ("report.md", to_markdown(report))):
        with atomic_write(report.path / name) as file:
            file.write(text.encode())
    write_json(report.path / "report.json", to_json(report))


def to_json(report: Report) -> dict[str, Any]:
    """Every number of the report as plain values; pictures and the directory's name are left out."""
    values = dataclasses.asdict(dataclasses.replace(report, figures={}))
    for name in ("path", "figures"):
        del values[name]
    for entry in [*values["gallery"]["rows"], *values["gallery"]["copies"]] if values["gallery"] else []:
        del entry["real"], entry["synthetic"]
    for table in values["generators"]:
        if table["closest"]:
            del table["closest"]["picture"]
    return {"schema": SCHEMA, **values}


def to_html(report: Report) -> str:
    """One self-contained page: nothing in it is fetched from anywhere."""
    loader = jinja2.PackageLoader("ltaug.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"breakable": _breakable} | {name: getattr(wording, name) for name in FILTERS}
    template = environment.get_template("template.html")
    number_of_classes = len(report.classes.labels)
    recall = report.classes.measures.get("recall", {})
    return template.render(
        r=report,
        rows=range(number_of_classes if number_of_classes <= MANY_CLASSES else 0),
        class_arms=[arm for arm in dict.fromkeys(report.shown.values()) if arm in recall],
        featured=report.shown.get("featured"),
    )


def _breakable(name: str) -> Markup:
    """A long name that may break where its words do."""
    return Markup(escape(name)).replace("+", Markup("+<wbr>")).replace("_", Markup("_<wbr>"))


def to_markdown(report: Report) -> str:
    """The same findings and numbers as the page, in GitHub-flavoured Markdown."""
    parts = [f"# {report.title}", f"**{report.verdict.headline}**"]
    parts.append("\n".join(f"- **{p.topic}** {p.text} {p.numbers}".rstrip() for p in report.verdict.points))
    parts += ["## Arms", _arms_table(report), *report.notes["reading"]]
    names = [arm.name for arm in report.arms]
    metrics = [
        [wording.metric_name(key), *(wording.spread_text(a.summary.get(key)) for a in report.arms)] for key in report.metrics
    ]
    parts += ["## All metrics", _table(["metric", *names], metrics)]
    parts += ["## Classes", *report.notes["classes"], _classes_table(report)]
    if report.gallery and report.gallery.copies:
        copies = [[c.class_name, c.real_class, wording.plain(c.distance)] for c in report.gallery.copies]
        parts += ["## Synthetic images nearest to a real one", _table(["class", "class of the real image", "distance"], copies)]
    parts += report.notes["images"]
    if report.selections or report.notes["selection"]:
        parts += ["## Selection", *report.notes["selection"], _selection_table(report)]
    for table in report.generators:
        parts += _generators(table)
    if report.published:
        papers = [[*row[:2], *(wording.plain(value, 2) for value in row[2])] for row in report.published.table]
        head = ["method", "source", *report.published.columns.values()]
        parts += [f"## Published results on {report.published.name}", report.published.about, _table(head, papers)]
    differing = [[k, *(wording.setting(values.get(name)) for name in names)] for k, values in report.settings.differing.items()]
    shared = [[key, wording.setting(value)] for key, value in report.settings.shared.items()]
    parts += ["## Settings", "In which the arms differ:", _table(["setting", *names], differing)]
    parts += ["The same in every arm that has them:", _table(["setting", "value"], shared)]
    parts += ["## Cost", *report.notes["cost"], _table(*report.cost_table), "## Origin", _origin_list(report)]
    return "\n\n".join(p for p in parts if p) + "\n"


def _generators(table: GeneratorTable) -> list[str]:
    """One table of generators with its terms and notes."""
    parts = [f"## The generators themselves: {table.title}", table.about]
    for name, columns, compared in table.panels:
        head, rows = table.text(columns)
        for row, cells in zip(table.rows, rows, strict=True):
            cells += [wording.paired_text(row.against.get(key), table.digits(key)) for key in compared]
        against = [f"{m.heading} against {table.compared_with}" for m in compared.values()]
        parts += [f"{name}:", _table([*head, *against], rows)]
    parts += table.notes
    if table.curve is not None:
        series = table.curve.series.values()
        curve = [[label, *(wording.plain(values[i]) for values in series)] for i, label in enumerate(table.curve.labels)]
        parts.append(_table([table.curve.by, *(f"FID of the class, {name}" for name in table.curve.series)], curve))
    return parts


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines = [cells[0], [":--", *["--:"] * (len(head) - 1)], *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _arms_table(report: Report) -> str:
    names = list(report.headline.values())
    baseline = report.shown["baseline"]
    head = ["arm", "synthetic", "seeds", *names, *(f"{n} against {baseline}" for n in names[:2])]
    rows = [
        [
            arm.name,
            "yes" if arm.kind == "with synthesis" else "no",
            str(len(arm.seeds)),
            *(wording.spread_text(arm.summary.get(key)) for key in report.headline),
            *(wording.paired_text(arm.against_baseline.get(key)) for key in list(report.headline)[:2]),
        ]
        for arm in report.arms
    ]
    return _table(head, rows)


def _classes_table(report: Report) -> str:
    classes, recall = report.classes, report.classes.measures.get("recall", {})
    arms = [arm.name for arm in report.arms if arm.name in recall]
    named = zip(classes.labels, classes.groups, classes.counts, strict=True)
    rows = [
        [label, group or wording.NOTHING, f"{n:.0f}", *(wording.plain(recall[a][i]) for a in arms)]
        for i, (label, group, n) in enumerate(named)
    ]
    return _table([classes.by, "group", "real images", *(f"recall, {a}" for a in arms)], rows)


def _selection_table(report: Report) -> str:
    reasons = list(dict.fromkeys(reason for s in report.selections for reason in s.rejected))
    head = ["arm", "seeds", "wanted", "generated", *(f"rejected: {r}" for r in reasons), "kept", "short of"]
    rows = []
    for s in report.selections:
        numbers = (s.seeds, s.wanted, s.candidates, *(s.rejected.get(reason, 0) for reason in reasons), s.kept, s.shortfall)
        rows.append([s.arm, *(f"{n:,}" for n in numbers)])
    return _table(head, rows)


def _origin_list(report: Report) -> str:
    o = report.origin
    lines = [f"Seeds: {wording.several(o.seeds)}", f"Test images: `{o.test_digest}`"]
    lines += [f"Real training images, seed {seed}: `{digest}`" for seed, digest in o.train_digests.items()]
    for arm, by_seed in o.synthetic_digests.items():
        lines += [f"Synthetic images, {arm}, seed {seed}: `{digest}`" for seed, digest in by_seed.items()]
    lines += [f"{name}: {wording.several(numbers)}" for name, numbers in o.versions.items()]
    return "\n".join(f"- {line}" for line in [*lines, f"Machine: {'; '.join(o.devices)}"])
