"""A report as GitHub-flavoured Markdown: the same findings and numbers as the page, in the same order."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ltaug.report import wording
from ltaug.report.document import Report
from ltaug.report.gains import MEASURES, BeforeAfter
from ltaug.report.generators import GeneratorTable
from ltaug.report.growth import ABOUT as ABOUT_GROWTH

# What begins or ends emphasis, code, a heading or a cell, and what makes a link of brackets; those of intervals stay.
_ACTIVE = re.compile(r"[\\`*~|#]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")


def to_markdown(report: Report) -> str:
    """The report as one text."""
    parts = _first_screen(report)
    points = (f"- **{_text(p.topic)}** {_text(p.text)} {_text(p.numbers)}".rstrip() for p in report.verdict.points)
    parts += ["## What the seeds say", "\n".join(points)]
    parts += ["### Arms", _arms_table(report), *_texts(report.notes["reading"])]
    names = [arm.name for arm in report.arms]
    metrics = [
        [wording.metric_name(key), *(wording.spread_text(a.summary.get(key)) for a in report.arms)] for key in report.metrics
    ]
    parts += ["### All metrics", _table(["metric", *names], metrics)]
    parts += ["## Recall of every class in every arm", _classes_table(report)]
    if report.gallery and report.gallery.copies:
        copies = [[c.class_name, c.real_class, wording.plain(c.distance)] for c in report.gallery.copies]
        parts += ["## Synthetic images nearest to a real one", _table(["class", "class of the real image", "distance"], copies)]
    if report.selections or report.notes["selection"]:
        parts += ["## Selection", *_texts(report.notes["selection"]), _selection_table(report)]
    for table in report.generators:
        parts += _generators(table)
    for growth in report.growth:
        parts += [f"## How {_text(growth.name)} grew", ABOUT_GROWTH, _table(*growth.table), _text(growth.stopped)]
    if report.published:
        papers = [[*row[:2], *(wording.plain(value, 2) for value in row[2])] for row in report.published.table]
        head = ["method", "source", *report.published.columns.values()]
        parts += [f"## Published results on {report.published.name}", report.published.about, _table(head, papers)]
    differing = [[k, *(wording.setting(values.get(name)) for name in names)] for k, values in report.settings.differing.items()]
    shared = [[key, wording.setting(value)] for key, value in report.settings.shared.items()]
    parts += ["## Settings", "In which the arms differ:", _table(["setting", *names], differing)]
    parts += ["The same in every arm that has them:", _table(["setting", "value"], shared)]
    parts += ["## Cost by part", _table(*report.cost_table), "## Origin", _origin_list(report)]
    return "\n\n".join(p for p in parts if p) + "\n"


def _first_screen(report: Report) -> list[str]:
    verdict, baseline, compared = report.verdict, report.shown["baseline"], report.compared
    headline = "" if verdict.headline == verdict.recommendation.text else verdict.headline
    parts = [f"# {_text(report.title)}", f"**{_text(verdict.recommendation.text)}**", _text(headline), f"{_text(report.about)}."]
    parts += ["\n".join(f"- {gate.outcome}: {_text(gate.text)}" for gate in report.gates), *_texts(report.notes["gates"])]
    if verdict.standing is not None:
        names = {arm.name: arm.kind for arm in report.arms}
        found = {name: verdict.standing.against[name] for name in names if name in verdict.standing.against}
        rows = [[name, names[name], wording.paired_text(one)] for name, one in found.items()]
        against = f"{wording.metric_name(verdict.standing.metric)} against {verdict.standing.reference}"
        parts += ["## The arms", _table(["arm", "images", against], rows)]
    parts += report.notes["standing"]
    parts += ["## Before and after", *_texts(report.notes["gains"])]
    if compared is not None:
        head = ["classes", *(f"{m}{way}" for m in MEASURES for way in (f": {baseline} → {compared}", ", gain"))]
        rows = [[group, *(cell for m in MEASURES for cell in _gain(found.get(m)))] for group, found in report.gains.items()]
        parts += [_table(head, rows), *_texts(report.notes["classes"]), _changes_table(report, baseline, compared)]
    parts += [*_texts(report.notes["images"]), "## Cost", *_texts(report.notes["cost"])]
    priced = {name: cost for name, cost in report.costs.items() if cost is not None}
    rows = []
    for name, worth in report.worth.items():
        if name in priced:
            numbers = (wording.plain(worth.times, 1), wording.signed(worth.gain), wording.signed(worth.per_hour, 2))
            rows.append([name, wording.cost_text(priced[name]), *numbers])
    parts.append(_table(["arm", "cost of a seed", "times the cheapest", "gain in macro recall", "gain per hour"], rows))
    return [*parts, f"One more seed of every arm costs {wording.cost_text(report.seed_cost)}." if report.seed_cost else ""]


def _gain(found: BeforeAfter | None) -> tuple[str, str]:
    if found is None:
        return wording.NOTHING, wording.NOTHING
    return f"{wording.plain(found.before)} → {wording.plain(found.after)}", wording.paired_text(found.change)


def _changes_table(report: Report, baseline: str, compared: str) -> str:
    """Recall and precision of every class before and after."""
    classes = report.classes
    measures = [measure for measure in MEASURES if compared in classes.changes.get(measure, {})]
    rows = []
    for i, (label, group, n) in enumerate(zip(classes.labels, classes.groups, classes.counts, strict=True)):
        cells = [label, group or wording.NOTHING, f"{n:.0f}"]
        for measure in measures:
            before, after = (wording.plain(classes.measures[measure][arm][i]) for arm in (baseline, compared))
            cells += [f"{before} → {after}", wording.paired_text(classes.changes[measure][compared][i])]
        rows.append(cells)
    return _table([classes.by, "group", "real images", *(f"{m}{way}" for m in measures for way in ("", ", gain"))], rows)


def _generators(table: GeneratorTable) -> list[str]:
    """One table of generators with its terms and notes."""
    parts = [f"## The generators themselves: {_text(table.title)}", _text(table.about)]
    for name, columns, compared in table.panels:
        head, rows = table.text(columns)
        for row, cells in zip(table.rows, rows, strict=True):
            cells += [wording.paired_text(row.against.get(key), table.digits(key)) for key in compared]
        against = [f"{m.heading} against {table.compared_with}" for m in compared.values()]
        parts += [f"{name}:", _table([*head, *against], rows)]
    parts += _texts(table.notes)
    if table.curve is not None:
        series = table.curve.series.values()
        curve = [[label, *(wording.plain(values[i]) for values in series)] for i, label in enumerate(table.curve.labels)]
        parts.append(_table([table.curve.by, *(f"FID of the class, {name}" for name in table.curve.series)], curve))
    return parts


def _text(text: str) -> str:
    """Text as it is read: on one line, without meaning in Markdown or HTML."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTIVE.sub(r"\\\g<0>", " ".join(plain.splitlines()))


def _texts(texts: Iterable[str]) -> list[str]:
    return [_text(text) for text in texts]


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [_texts(row) for row in [head, *rows]]
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
        lines += [f"Synthetic images, {_text(arm)}, seed {seed}: `{digest}`" for seed, digest in by_seed.items()]
    lines += [f"{name}: {_text(wording.several(numbers))}" for name, numbers in o.versions.items()]
    return "\n".join(f"- {line}" for line in [*lines, f"Machine: {_text('; '.join(o.devices))}"])
