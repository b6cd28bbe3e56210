"""A report as files: the page, its JSON and its Markdown; each is written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ltaug.files import sealed, write_bytes, write_json
from ltaug.formats import FORMAT, REPORT
from ltaug.records import REPORT_FILE
from ltaug.report import growth, wording
from ltaug.report.document import Report
from ltaug.report.markdown import to_markdown

MANY_CLASSES = 30  # above this the tables show groups of classes; report.json keeps every class
FILTERS = ("plain", "signed", "interval_text", "metric_name", "cost_text", "setting", "several", "count")


def write_report(report: Report) -> None:
    """Write report.json, by which the directory is known as a report, then report.html and report.md, whose digests it has."""
    pages = {"report.html": to_html(report).encode(), "report.md": to_markdown(report).encode()}
    digests = {name: hashlib.sha256(page).hexdigest() for name, page in pages.items()}
    write_json(report.path / REPORT_FILE, sealed({**to_json(report), "files": digests}))
    for name, page in pages.items():
        write_bytes(report.path / name, page)


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
    for grown, found in zip(values["growth"], report.growth, strict=True):
        grown |= {"best": found.best, "stopped": found.stopped}
    return {FORMAT: REPORT, **values}


def to_html(report: Report) -> str:
    """One self-contained page: nothing in it is fetched from anywhere."""
    loader = jinja2.PackageLoader("ltaug.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"breakable": _breakable, "themed": _themed} | {name: getattr(wording, name) for name in FILTERS}
    template = environment.get_template("template.html")
    number_of_classes = len(report.classes.labels)
    return template.render(
        r=report,
        rows=range(number_of_classes if number_of_classes <= MANY_CLASSES else 0),
        compared=report.compared,
        featured=report.shown.get("featured"),
        about_growth=growth.ABOUT,
    )


def _breakable(name: str) -> Markup:
    """A long name that may break where its words do."""
    return Markup(escape(name)).replace("+", Markup("+<wbr>")).replace("_", Markup("_<wbr>"))


def _themed(svg: str) -> Markup:
    """A figure whose colours the page's style may replace: each becomes a variable that is named after it."""
    return Markup(re.sub(r"#([0-9a-f]{6})\b(?=[;\"])", r"var(--c-\1, #\1)", svg))
