"""In which recorded points these runs came about differently from published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ltaug.report.collect import Experiment, Result
from ltaug.report.generators import GeneratorTable
from ltaug.report.published import PublishedData, published
from ltaug.report.wording import setting, several

POINTS = {
    "extractor": "the extractor",
    "reference": "the reference",
    "samples": "generated images",
    "neighbours": "k of recall",
    "clusters": "clusters of F8",
    "steps": "training steps",
    "batch_size": "batch size",
    "channels": "channels of the network",
    "model": "the classifier",
    "synthetic_images": "synthetic images added",
    "synthetic_balance": "how they are shared out",
    "test_balance": "the test set",
}
EVEN, UNEVEN = "the same number a class", "different numbers a class"
Facts = Mapping[str, tuple[Any, ...]]  # what runs record -> every value that occurs; an empty tuple where it is not known


def recognised(experiment: Experiment) -> str | None:
    """The published dataset that all runs were made on by their recorded options; None for any other."""
    for name in published().names:
        data = published().datasets[name]
        given = [run.record["options"].get("dataset", {}) for run in experiment.runs]
        if all(_is_published(options, data) for options in given):
            return name
    return None


def _is_published(options: Mapping[str, Any], data: PublishedData) -> bool:
    imbalance, profile = options.get("imbalance", 1), options.get("profile", "exp")
    return (options.get("dataset"), imbalance, profile) == (data.source, data.imbalance, "exp")


def generation_facts(table: GeneratorTable) -> Facts:
    """How the generators of a table were trained and measured."""
    facts = {key: _distinct([table.terms.get(key)]) for key in ("extractor", "reference", "samples", "neighbours", "clusters")}
    for key in ("steps", "batch_size", "channels"):
        facts[key] = _distinct(row.training.get(key) for row in table.rows)
    return facts


def recognition_facts(experiment: Experiment) -> Facts:
    """How the classifiers were trained and tested."""

    def share(counts: Sequence[int]) -> str:
        return EVEN if min(counts) == max(counts) else UNEVEN

    made = [run.synthetic_counts for run in experiment.runs if run.synthetic_counts]
    supports = [run.metrics["per_class"].get("support") for run in experiment.runs]
    facts = {
        "model": _distinct(run.record["options"].get("train-classifier", {}).get("model") for run in experiment.runs),
        "test_balance": _distinct(share(support) for support in supports if support),
    }
    if made:  # without synthetic images there is nothing to compare in these points
        facts["synthetic_images"] = _distinct(sum(counts) for counts in made)
        facts["synthetic_balance"] = _distinct(share(counts) for counts in made)
    return facts


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))


def _differing(own: Facts, expected: Facts) -> tuple[list[str], list[str]]:
    """Points in which the two differ, with both values, and points that these runs do not record."""
    points, unknown = [], []
    for key, allowed in expected.items():
        values = own.get(key)
        if values == ():
            unknown.append(POINTS[key])
        elif values is not None and not set(values) <= set(allowed):
            points.append(f"{POINTS[key]} ({_either(values)} here, {_either(allowed)} there)")
    return points, unknown


def _either(values: Sequence[Any]) -> str:
    words = [setting(value) for value in sorted(values)]
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def difference(label: str, own: Facts, expected: Facts) -> str:
    """One sentence: where `own` leaves what a protocol expects, with both values, and what it does not record.

    Args:
        label: which of these runs, for reports that have several kinds of them; may be empty.
    """
    points, unknown = _differing(own, expected)
    who = f"These runs in {label}" if label else "These runs"
    text = f"{who} differ in {several(points)}." if points else f"{who} differ in none of the points they record."
    return f"{text} Not recorded: {several(unknown)}." if unknown else text


def data_differences(experiment: Experiment, data: PublishedData) -> tuple[str, ...]:
    """How the training images differ from the field's draw of this dataset."""
    given = [run.record["options"].get("dataset", {}) for run in experiment.runs]
    sources = _distinct(options.get("dataset") for options in given)
    seeds = sorted(_distinct(_draw_seed(run) for run in experiment.runs))
    points = []
    if sources != (data.source,):
        kinds = _distinct(str(source).split(":")[0] for source in sources)
        points.append(
            f"The images come from {several(kinds)}, so whether they are the field's draw of {data.name} is not recorded."
        )
    elif not all(_is_published(options, data) and options.get("class_order", "index") == "index" for options in given):
        points.append(f"The draw was made with other options than the field's (imbalance {data.imbalance:g}, classes in order).")
    elif seeds != [data.draw_seed]:
        which = f"seed{'s' * (len(seeds) > 1)} {several(seeds)}"
        points.append(f"The draws are those of {which}; the papers use one draw, that of seed {data.draw_seed}.")
    sizes = _distinct((len(c), sum(c), max(c), min(c)) for c in (run.class_counts for run in experiment.runs))
    if sizes != ((data.classes, data.images, data.largest, data.smallest),):
        own = several([f"{k} classes with {n:,} images, {most:,} to {least:,} a class" for k, n, most, least in sizes])
        theirs = f"{data.classes} classes with {data.images:,} images, {data.largest:,} to {data.smallest:,} a class"
        points.append(f"Training sets have {own}; the papers' {theirs}.")
    return tuple(points)


def _draw_seed(run: Result) -> int:
    return int((run.record["inputs"].get("train") or {}).get("draw_seed", run.seed))
