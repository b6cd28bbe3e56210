"""The report as one structure: what the page, the Markdown, the JSON and the terminal all show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ltaug.report.classes import ClassTable, ConfusionChange
from ltaug.report.cost import PARTS, Cost
from ltaug.report.gallery import Gallery
from ltaug.report.generators import GeneratorTable
from ltaug.report.method import Origin, Selection, Settings
from ltaug.report.published import Published
from ltaug.report.statistics import Paired, Spread
from ltaug.report.verdict import Verdict
from ltaug.report.wording import minutes, paired_text, spread_text


def compared_arm(shown: Mapping[str, str]) -> str | None:
    """The arm whose change from the baseline is shown in detail, of those singled out by role; None where there is none."""
    arms = (shown.get(role) for role in ("featured", "best_with", "best_without"))
    return next((arm for arm in arms if arm not in (None, shown["baseline"])), None)


@dataclass(frozen=True)
class ArmRow:
    """One arm's numbers: mean and spread of every metric, and differences from the arms it answers to."""

    name: str
    about: str
    kind: str
    seeds: tuple[int, ...]
    summary: Mapping[str, Spread]
    against_baseline: Mapping[str, Paired]
    against_best_without: Mapping[str, Paired]
    partner: str | None
    against_partner: Mapping[str, Paired]


@dataclass(frozen=True)
class Report:
    """Everything a report says.

    Attributes:
        path: the directory it was written to.
        shown: the arms singled out in figures, by role: baseline, featured, best_without, best_with.
        headline: metric -> its name, for those metrics of the headline table that were measured.
        adjusted_p: metric -> arm -> p against the baseline after Holm's correction.
        costs: arm -> what one seed of it takes; None where that is not known.
        seed_cost: what one more seed of all arms takes.
        notes: by section, what was left out and how to read the numbers.
        figures: name -> SVG.
    """

    path: Path
    title: str
    verdict: Verdict
    shown: Mapping[str, str]
    headline: Mapping[str, str]
    metrics: tuple[str, ...]
    arms: tuple[ArmRow, ...]
    adjusted_p: Mapping[str, Mapping[str, float]]
    classes: ClassTable
    confusion: ConfusionChange | None
    settings: Settings
    selections: tuple[Selection, ...]
    costs: Mapping[str, Cost | None]
    seed_cost: Cost | None
    origin: Origin
    notes: Mapping[str, tuple[str, ...]]
    generators: tuple[GeneratorTable, ...] = ()
    published: Published | None = None
    gallery: Gallery | None = None
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def compared(self) -> str | None:
        """The arm whose change from the baseline is shown in detail."""
        return compared_arm(self.shown)

    @property
    def cost_table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows of what the arms take, part by part."""
        known = {arm: {**cost.parts, "in all": cost.minutes} if cost else {} for arm, cost in self.costs.items()}
        columns = [name for name in (*PARTS, "in all") if any(name in took for took in known.values())]
        return ["arm", *columns], [[arm, *(minutes(took.get(name)) for name in columns)] for arm, took in known.items()]

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings of `table`."""
        return ("arm", *self.headline.values(), f"{next(iter(self.headline.values()))} against {self.shown['baseline']}")

    @property
    def table(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(arm, values) for a terminal: the headline metrics, then the paired difference of the first."""
        first = next(iter(self.headline))
        values = {arm.name: [spread_text(arm.summary.get(key)) for key in self.headline] for arm in self.arms}
        return tuple((arm.name, (*values[arm.name], paired_text(arm.against_baseline.get(first)))) for arm in self.arms)
