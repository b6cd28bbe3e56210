"""Every measure of generated images, in the order of the tables. A new one is a function in a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ltaug.metrics.evaluated import Evaluated
from ltaug.metrics.measured import Notebook
from ltaug.registry import load

# Tables and figures: the report's ("report"; "compared" adds paired differences), the terminal's after a report ("brief"),
# the panels of a sweep ("drawn"). With "/few" the value over few-shot classes.
Place = Literal["report", "report/few", "compared", "brief", "brief/few", "drawn", "drawn/few"]


@dataclass(frozen=True)
class Measure:
    """A measure of generated images, by its key in metrics.json.

    `compute` is "module:function" of ltaug.metrics, or a function, that enters its values. Measures that share a computation
    name the same one, which is called once.
    """

    name: str  # for people, within a sentence
    better: Literal["lower", "higher"] | float  # which direction is better, or the value expected by chance
    compute: str | Callable[[Evaluated, Notebook], None]
    short: str = ""  # name for a narrow column [default: the name]
    elsewhere: str = ""  # name for features other than Inception's, where `name` means Inception's
    digits: int | None = 3  # after the point; None for three figures of the smallest value, for distances on their own scale
    spread: str = ""  # key of its standard deviation
    about: str = ""  # how to read it; shown below the report's tables
    shown: tuple[Place, ...] = ("report", "report/few", "brief", "drawn")  # where it is shown, if an evaluation has it

    @property
    def brief_name(self) -> str:
        """What to call it among others."""
        return self.short or self.name

    @property
    def column(self) -> str:
        """Its short name with an arrow in the better direction: 'recall ↑'."""
        return self.brief_name + {"lower": "\u00a0↓", "higher": "\u00a0↑"}.get(str(self.better), "")

    @property
    def heading(self) -> str:
        """Its column where that begins with a capital: 'Recall ↑'."""
        return self.column[0].upper() + self.column[1:]

    @property
    def direction(self) -> str:
        """'lower is better', or '0.01 is chance'."""
        return f"{self.better} is better" if isinstance(self.better, str) else f"{self.better:g} is chance"


MEASURES: dict[str, Measure] = {
    "fid": Measure("FID", "lower", "frechet:fid", elsewhere="Fréchet distance", digits=None,
                   shown=("report", "report/few", "compared", "brief", "brief/few", "drawn", "drawn/few")),
    "kid": Measure("KID", "lower", "kernel:kid", elsewhere="kernel distance", digits=None, spread="kid_std", shown=("report",)),
    "class_fid": Measure("FID within a class, mean", "lower", "classes:class_fid", digits=None, shown=()),
    "inception_score": Measure("inception score", "higher", "inception_score:score", elsewhere="inception score by {extractor}",
                               spread="inception_score_std", shown=("drawn",)),
    "precision": Measure("precision", "higher", "manifold:balls", shown=("drawn",)),
    "recall": Measure("recall", "higher", "manifold:balls", shown=("report", "report/few", "compared", "brief", "drawn")),
    "density": Measure("density", "higher", "manifold:balls", shown=()),
    "coverage": Measure("coverage", "higher", "manifold:balls", shown=("report", "report/few", "brief", "brief/few")),
    "f8": Measure("F8 (recall)", "higher", "prd:f_beta", short="F8", shown=("report",)),
    "f1_8": Measure("F1/8 (precision)", "higher", "prd:f_beta", short="F1/8", shown=("report",)),
    "consistency": Measure("class consistency", "higher", "classes:consistency", shown=("report", "report/few", "brief")),
    "memorised_1": Measure(
        "memorised (nearer than 1 % of real)", 0.01, "memorisation:memorised", short="memorised (1\u00a0%)",
        shown=("report", "brief"),
        about="Memorised (1 %): generated images nearer to a training image than all but 1 % of the training images are to "
        "each other. About 1 % is what real images score."),
    "memorised_5": Measure("memorised (nearer than 5 % of real)", 0.05, "memorisation:memorised", shown=()),
}  # fmt: skip


def shown_in(place: Place) -> dict[str, Measure]:
    """Keys of metrics.json that a table or figure shows, in its order; "KEY/few" for the places over few-shot classes."""
    few = "/few" if place.endswith("/few") else ""
    return {key + few: measure for key, measure in MEASURES.items() if place in measure.shown}


def measure_all(given: Evaluated) -> Notebook:
    """Every measure of a generator's images.

    What cannot be measured (too few images, features that are not finite or all the same, an extractor without class
    probabilities) is None with its reason, and the others go on. Values over a group's classes have keys such as "fid/few".
    """
    notes = Notebook(warnings=given.caveats)
    for compute in dict.fromkeys(measure.compute for measure in MEASURES.values()):
        (load(f"ltaug.metrics.{compute}") if isinstance(compute, str) else compute)(given, notes)
    return notes
