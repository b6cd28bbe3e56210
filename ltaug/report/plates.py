"""Which figures a report has, and the data and the words that go into each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ltaug.report import figures
from ltaug.report.arms import Scores
from ltaug.report.classes import ClassTable, ConfusionChange
from ltaug.report.generators import GeneratorTable
from ltaug.report.wording import several

AXIS = {"class": "class, most frequent first", "rank": "frequency rank of the class in its seed"}


def kind_of(scores: Scores, arm: str) -> str:
    """How the arm is drawn and listed: baseline, with synthesis or without synthesis."""
    return "baseline" if arm == scores.baseline else "with synthesis" if arm in scores.synthetic else "without synthesis"


def draw(
    scores: Scores, classes: ClassTable, change: ConfusionChange | None, shown: Mapping[str, str], headline: Mapping[str, str]
) -> dict[str, str]:
    """Every figure the data allows, by name."""
    found: dict[str, str] = {}
    others = [arm for arm in scores.order if arm != scores.baseline]
    if others:
        panels = {name: [scores.paired(a, scores.baseline, key) for a in others] for key, name in list(headline.items())[:2]}
        rows = [(arm, kind_of(scores, arm)) for arm in others]
        alt = f"Paired differences of {several(others)} from {scores.baseline} with their intervals, as in the table above."
        found["forest"] = figures.forest(rows, panels, name="forest", alt=alt)
    featured = shown.get("featured", "")
    axis_name = AXIS[classes.by]
    alt = f"Training images per {classes.by}, from {max(classes.counts):.0f} to {min(classes.counts):.0f} real ones."
    made = classes.synthetic_counts.get(featured)
    found["counts"] = figures.counts(classes.labels, classes.counts, made, axis_name=axis_name, name="counts", alt=alt)
    recall = classes.measures.get("recall", {})
    roles = ("baseline", "featured" if featured else "best_with", "best_without")
    wanted = dict.fromkeys(shown[role] for role in roles if role in shown)
    chosen = [arm for arm in wanted if arm in recall]
    if recall:
        series = {arm: (kind_of(scores, arm), recall[arm]) for arm in chosen}
        alt = f"Recall per {classes.by} of {several(chosen)}."
        found["recall"] = figures.per_class(classes.labels, series, axis_name=axis_name, name="recall", alt=alt)
    if change is not None:
        alt = f"Change in the share of each true class read as each class, {change.arm} minus {change.other}."
        found["confusion"] = figures.confusion(change.class_names, change.matrix, name="confusion", alt=alt)
    return found


def draw_generators(tables: Sequence[GeneratorTable]) -> dict[str, str]:
    """For every table with an FID per class, its figure, as class-fid-0 and so on."""
    found: dict[str, str] = {}
    for i, table in enumerate(tables):
        if table.curve is None:
            continue
        kinds = {name: "baseline" if name == table.compared_with else "with synthesis" for name in table.curve.series}
        series = {name: (kinds[name], values) for name, values in table.curve.series.items()}
        alt = f"FID per {table.curve.by} of {several(list(series))}, in {table.terms['extractor']} features."
        name = f"class-fid-{i}"
        found[name] = figures.per_class(
            table.curve.labels,
            series,
            measure="FID of the class",
            share=False,
            axis_name=AXIS[table.curve.by],
            name=name,
            alt=alt,
        )
    return found
