"""A report as files: the page and the JSON are made here, the Markdown next door; each is written whole or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ltaug.files import atomic_write, write_json
from ltaug.report import wording
from ltaug.report.document import Report
from ltaug.report.markdown import to_markdown

MANY_CLASSES = 30  # above this the tables show groups of classes; report.json keeps every class
SCHEMA = 1
_FILTERS = [
    "plain",
    "signed",
    "spread_text",
    "interval_text",
    "paired_text",
    "metric_name",
    "seconds",
    "setting",
    "several",
    "count",
]


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
    environment.filters["breakable"] = _breakable
    environment.filters.update({name: getattr(wording, name) for name in _FILTERS})
    template = environment.get_template("template.html")
    recall = report.classes.measures.get("recall", {})
    return template.render(
        r=report,
        rows=_class_rows(report),
        class_arms=[arm for arm in dict.fromkeys(report.shown.values()) if arm in recall],
        stages=report.stages,
        featured=report.shown.get("featured"),
    )


def _breakable(name: str) -> Markup:
    """A long name that may break where its words do."""
    return Markup(escape(name)).replace("+", Markup("+<wbr>")).replace("_", Markup("_<wbr>"))


def _class_rows(report: Report) -> list[int]:
    """Rows of the per-class table; none where there are too many classes to read."""
    n = len(report.classes.labels)
    return list(range(n)) if n <= MANY_CLASSES else []
