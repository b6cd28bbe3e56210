"""`ltaug grow`: rounds of synthesis where cross-fitted classifiers err most, until a round is not shown to pay."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ltaug.errors import OptionError
from ltaug.fields import checked, plain
from ltaug.looks import require_seeds
from ltaug.machine import Machine
from ltaug.options import ClassifierOptions, SynthesisOptions, judges_needed, judging
from ltaug.pipeline import claim, require_some, require_workers, with_check
from ltaug.pipeline.plan import WITH_SYNTHETIC, Given, Task, plan_classifiers, task_below
from ltaug.pipeline.run import run_tasks
from ltaug.records import GeneratorRecord
from ltaug.runs import Event, Listener, ignore_events

if TYPE_CHECKING:
    from ltaug.report import Report

MOST = 10_000  # classifiers of all rounds


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What is asked of `ltaug grow`.

    Attributes:
        generator: a finished fit-generator run; its dataset and draw are the real images.
        synthesis, classifier: SynthesisOptions (but the budget) and ClassifierOptions by name.
        per_round: images that a round adds; None: a quarter of what fill:max asks for.
        max_rounds: at most so many rounds with images.
        folds, repeats: parts of the real images that a classifier is trained without, and how often a round draws them.
        seeds: classifiers of each arm at the end.
    """

    generator: Path
    out: Path
    synthesis: Mapping[str, Any]
    classifier: Mapping[str, Any]
    per_round: int | None = None
    max_rounds: int = 4
    folds: int = 3
    repeats: int = 4
    seeds: int = 5

    def __post_init__(self) -> None:
        """Raise OptionError for options that are misspelt or that nobody reads, and numbers that are too low."""
        require_some(("--per-round", self.per_round), ("--max-rounds", self.max_rounds), ("--seeds", self.seeds))
        for option, number in (("--folds", self.folds), ("--repeats", self.repeats)):
            if number < 2:
                raise OptionError(f"{option} {number} must be at least 2, or no image is held out or no gain has an interval")
        require_seeds(self.seeds, "--seeds")
        if self.max_rounds * self.folds * self.repeats > MOST:
            asked = f"--max-rounds {self.max_rounds}, --folds {self.folds} and --repeats {self.repeats}"
            raise OptionError(f"{asked} are more than {MOST:,} classifiers in all; ask for fewer")
        if "per_class_budget" in self.synthesis:
            raise OptionError("the rounds find out per-class-budget themselves; leave it out, and give per-round instead")
        checked(SynthesisOptions, self.synthesis, where="synthesize")
        checked(ClassifierOptions, self.classifier, where="train-classifier")

    @cached_property
    def made(self) -> GeneratorRecord:
        return GeneratorRecord.read(self.generator, finished=True)

    @cached_property
    def images(self) -> int:
        """How many images a round adds."""
        missing = sum(max(self.made.class_counts) - n for n in self.made.class_counts)
        if self.per_round is None and not missing:
            every = f"every class of {self.made.train_source} has {self.made.class_counts[0]} images"
            raise OptionError(f"{every}, so fill:max asks for none; say with --per-round how many a round adds")
        return self.per_round or -(-missing // 4)

    def judges(self) -> list[Task]:
        """The judges that the selection asks for."""
        asked: Given = {"dataset": plain(self.made.dataset), "seed": self.made.seed, **judging(self.classifier)}
        number = judges_needed(self.synthesis)
        return [task_below(self.out, f"judges/judge-{i}", "train_judge", {**asked, "index": i}) for i in range(number)]

    def round(self, number: int, budget: str = "") -> list[Task]:
        """A round's synthesis, unless it is round 0, and a classifier for every fold of every repetition."""
        asked: Given = {"generator": self.generator, "seed": self.made.seed}
        folder = f"round-{number}"
        synthesis: list[Task] = []
        if number:
            given = {**self.synthesis, "per_class_budget": budget}
            judges = [task.directory for task in self.judges()] or None
            synthesis = [task_below(self.out, f"{folder}/synthetic", "synthesize", {**asked, "given": given, "judges": judges})]
        asked |= {"given": dict(self.classifier), "synthetic": synthesis[0].directory if synthesis else None}
        asked |= {"number": number, "repeats": self.repeats, "folds": self.folds}
        fits = []
        for repeat, fold in itertools.product(range(self.repeats), range(self.folds)):
            own = {**asked, "repeat": repeat, "fold": fold}
            fits.append(task_below(self.out, f"{folder}/fit-{repeat}-{fold}", "cross_fit", own, synthesis))
        return [*synthesis, *fits]

    def end(self, best: int) -> list[Task]:
        """Classifiers with the images of the best round and those to compare them with, and the report."""
        asked: Given = {"dataset": plain(self.made.dataset), "given": dict(self.classifier), "out": self.out / "classifiers"}
        images = self.out / f"round-{best}/synthetic" if best else None
        fits = plan_classifiers(**asked, seeds=self.seeds, seed=self.made.seed, synthetic=images, arm=WITH_SYNTHETIC)
        kwargs = {"runs": [self.out], "out": self.out / "report", "title": f"Synthetic images grown for {self.made.train_source}"}
        return [*fits, Task("report", "write_report", kwargs, tuple(t.name for t in fits), self.out / "report")]

    def plan(self) -> list[Task]:
        """Every stage if all rounds pay. Only the budgets of the classes are not known before."""
        rounds = [task for r in range(self.max_rounds + 1) for task in self.round(r, f"total:{r * self.images}")]
        return [*self.judges(), *rounds, *self.end(self.max_rounds)]


def grow(
    generator: Path,
    *,
    out: Path,
    synthesis: Mapping[str, Any] | None = None,
    classifier: Mapping[str, Any] | None = None,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
    engine: str | None = None,
    **numbers: int | None,
) -> Report:
    """Synthesize in rounds where classifiers err most on real training images that they were not trained on; `ltaug grow`.

    Each round adds images to those before and is compared with the round before (report.growth.Growth.ending says when to
    stop). Test images decide nothing: they are looked at once, by the classifiers that are trained with the images of the best
    round. If interrupted, the same call resumes.

    Args:
        workers, engine: see `run_recipe`.
        numbers: per_round, max_rounds, folds, repeats, seeds. These and the others: see `Loop`.

    Raises:
        LtaugError: a stage's mistake or mismatch, and as `Loop` says.
    """
    require_workers(workers, engine)
    numbers = {name: number for name, number in numbers.items() if number is not None}
    loop = Loop(generator=generator, out=out, synthesis=synthesis or {}, classifier=classifier or {}, **cast("Given", numbers))
    how: Given = {"workers": workers, "machine": machine, "listener": listener, "engine": engine}
    everything = loop.plan()
    with claim(out, "grow", everything):
        run_tasks(with_check([*loop.judges(), *loop.round(0)], asked=everything), **how)
        from ltaug.report.growth import read_growth  # loads numpy, which the parent does without while workers run

        for number in range(1, loop.max_rounds + 2):
            (growth,) = read_growth([out / f"round-{r}" for r in range(number)])
            head, rows = growth.table
            listener(Event("", ", ".join(f"{name} {cell}" for name, cell in zip(head, rows[-1], strict=True)).capitalize() + "."))
            if growth.ending or number > loop.max_rounds:
                break
            run_tasks(loop.round(number, json.dumps(growth.next_budget(loop.images))), **how)
        listener(Event("", growth.stopped))
        results = run_tasks(loop.end(growth.best), **how)
    return cast("Report", results["report"])
