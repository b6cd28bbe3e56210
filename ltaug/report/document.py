"""The report as one structure: what the page, the Markdown, the JSON and the terminal all show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from webbrowser import open_new_tab

from ltaug.notebook import html_table
from ltaug.report.classes import ClassTable, ConfusionChange
from ltaug.report.cost import PARTS, Cost
from ltaug.report.gains import BeforeAfter, Worth
from ltaug.report.gallery import Gallery
from ltaug.report.gates import Gate
from ltaug.report.generators import GeneratorTable
from ltaug.report.growth import Growth
from ltaug.report.method import Origin, Selection, Settings
from ltaug.report.published import Published
from ltaug.report.statistics import Paired, Spread
from ltaug.report.verdict import Verdict
from ltaug.report.wording import cost_text, count, minutes, plain, signed

ROLES = {"baseline": "baseline", "best_without": "best without synthesis", "control": "control", "best_with": "best with"}
BRIEF = ("macro_recall", "macro_precision", "recall/few")


def compared_arm(shown: Mapping[str, str]) -> str | None:
    """The arm whose change from the baseline is shown in detail, of those singled out by role; None where there is none."""
    arms = (shown.get(role) for role in ("featured", "best_with", "best_without"))
    return next((arm for arm in arms if arm not in (None, shown["baseline"])), None)


@dataclass(frozen=True)
class ArmRow:
    """One arm's numbers: mean and spread of every metric, and differences from a baseline that starts from the same weights."""

    name: str
    about: str
    kind: str
    seeds: tuple[int, ...]
    summary: Mapping[str, Spread]
    against_baseline: Mapping[str, Paired]


@dataclass(frozen=True)
class Report:
    """Everything a report says.

    Attributes:
        path: the directory it was written to.
        shown: the arms singled out, by role: baseline, featured, best_without, best_with, control (real images resampled).
        steps: what is known of the optimizer steps that the arms take, in a few words.
        gains: group of classes -> recall or precision -> the gain of `compared` over the baseline.
        costs, worth: arm -> what a seed of it costs, None where that is not known, and what that buys.
        seed_cost: of one more seed of all arms.
        headline: metric -> its name, for those metrics of the headline table that were measured.
        growth: how the synthetic images grew, where `ltaug grow` made them.
        notes: by section, what was left out and how to read the numbers.
        figures: name -> SVG.
    """

    path: Path
    title: str
    verdict: Verdict
    gates: tuple[Gate, ...]
    gains: Mapping[str, Mapping[str, BeforeAfter]]
    costs: Mapping[str, Cost | None]
    worth: Mapping[str, Worth]
    seed_cost: Cost | None
    shown: Mapping[str, str]
    headline: Mapping[str, str]
    metrics: tuple[str, ...]
    arms: tuple[ArmRow, ...]
    classes: ClassTable
    confusion: ConfusionChange | None
    settings: Settings
    selections: tuple[Selection, ...]
    origin: Origin
    notes: Mapping[str, tuple[str, ...]]
    steps: str | None = None
    generators: tuple[GeneratorTable, ...] = ()
    growth: tuple[Growth, ...] = ()
    published: Published | None = None
    gallery: Gallery | None = None
    figures: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    def open(self) -> bool:
        """Show the page in the browser; False where there is none."""
        return open_new_tab((self.path / "report.html").resolve().as_uri())

    def _repr_html_(self) -> str:
        said = dict.fromkeys((self.verdict.recommendation.text, self.verdict.headline))
        return "".join(f"<p>{escape(text)}</p>" for text in said) + html_table(*self.brief)

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
    def about(self) -> str:
        """What was compared, in one line."""
        counts = self.classes.counts
        parts = [count(len(self.origin.seeds), "seed"), count(len(self.arms), "arm"), count(len(counts), "class", "classes")]
        largest = f"{count(round(sum(counts)), 'real training image')} a seed ({max(counts):.0f} to {min(counts):.0f} a class)"
        return ", ".join([*parts, largest, *([self.steps] if self.steps else [])])

    @property
    def checks(self) -> list[str]:
        """The checks that found something, a line each unless the headline says it, or one line that says that none did."""
        warned = [gate for gate in self.gates if gate.outcome != "ok"]
        found = [f"{gate.outcome}: {gate.text}" for gate in warned if gate.text not in self.verdict.headline]
        passed = dict.fromkeys(gate.passed for gate in self.gates if gate.outcome == "ok")
        return found or [f"checks: {text}" for text in (", ".join(passed), *self.notes["gates"]) if text]

    @property
    def brief(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Headings and rows for a terminal: the arms that the verdict turns on."""
        named = {key: self.headline[key].lower() for key in BRIEF if key in self.headline}
        arms = {arm.name: arm for arm in self.arms}
        roles: dict[str, list[str]] = {}
        for role, name in ROLES.items():
            if role in self.shown and not (role == "control" and self.shown[role] in roles):
                roles.setdefault(self.shown[role], []).append(name)
        rows = []
        for name, own in roles.items():
            summary, cost = arms[name].summary, self.costs.get(name)
            means = [plain(summary[key].mean if key in summary else None) for key in named]
            rows.append((f"{name} ({', '.join(own)})", *means, signed(self.worth[name].gain), cost_text(cost)))
        return ("arm", *named.values(), "gain in recall", "cost of a seed"), rows
