"""A report as GitHub-flavoured Markdown."""

from __future__ import annotations

from ltaug.report import wording
from ltaug.report.document import Report
from ltaug.report.generators import GeneratorTable
from ltaug.report.published import Published


def to_markdown(report: Report) -> str:
    """The same findings and numbers as the page."""
    parts = [f"# {report.title}", f"**{report.verdict.headline}**"]
    parts.append("\n".join(f"- **{p.topic}** {p.text} {p.numbers}".rstrip() for p in report.verdict.points))
    parts += ["## Arms", _arms_table(report), *report.notes["reading"]]
    parts += ["## All metrics", _metrics_table(report)]
    parts += ["## Classes", *report.notes["classes"], _classes_table(report)]
    if report.gallery and report.gallery.copies:
        copies = [[c.class_name, c.real_class, wording.plain(c.distance)] for c in report.gallery.copies]
        parts += ["## Synthetic images nearest to a real one", _table(["class", "class of the real image", "distance"], copies)]
    parts += report.notes["images"]
    if report.selections or report.notes["selection"]:
        parts += ["## Selection", *report.notes["selection"], _selection_table(report)]
    for table in report.generators:
        parts += _generators(table)
    parts += _published(report.published) if report.published else []
    parts += ["## Settings", "In which the arms differ:", _differing_table(report), "The same in every arm that has them:"]
    parts.append(_table(["setting", "value"], [[k, wording.setting(v)] for k, v in report.settings.shared.items()]))
    parts += ["## Time", _timings_table(report), "## Origin", _origin_list(report)]
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


def _published(published: Published) -> list[str]:
    """The papers' results on this dataset."""
    rows = [[method, source, *(wording.plain(value, 2) for value in values)] for method, source, values in published.table]
    grid = _table(["method", "source", *published.columns.values()], rows)
    return [f"## Published results on {published.name}", published.about, grid]


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


def _metrics_table(report: Report) -> str:
    rows = [[wording.metric_name(key), *(wording.spread_text(a.summary.get(key)) for a in report.arms)] for key in report.metrics]
    return _table(["metric", *(arm.name for arm in report.arms)], rows)


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


def _differing_table(report: Report) -> str:
    arms = [arm.name for arm in report.arms]
    rows = [[key, *(wording.setting(values.get(a)) for a in arms)] for key, values in report.settings.differing.items()]
    return _table(["setting", *arms], rows)


def _timings_table(report: Report) -> str:
    stages = report.stages
    rows = [[t.arm, *(wording.seconds(t.stages.get(s)) for s in stages), wording.seconds(t.total)] for t in report.timings]
    return _table(["arm", *stages, "in all"], rows)


def _origin_list(report: Report) -> str:
    o = report.origin
    lines = [f"Seeds: {wording.several(o.seeds)}", f"Test images: `{o.test_digest}`"]
    lines += [f"Real training images, seed {seed}: `{digest}`" for seed, digest in o.train_digests.items()]
    for arm, by_seed in o.synthetic_digests.items():
        lines += [f"Synthetic images, {arm}, seed {seed}: `{digest}`" for seed, digest in by_seed.items()]
    lines += [f"{name}: {wording.several(numbers)}" for name, numbers in o.versions.items()]
    return "\n".join(f"- {line}" for line in [*lines, f"Machine: {'; '.join(o.devices)}"])
