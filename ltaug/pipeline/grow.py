"""`ltaug grow`: rounds of synthesis where cross-fitted classifiers err most, until a round is not shown to pay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ltaug.errors import OptionError
from ltaug.fields import checked, plain
from ltaug.machine import Machine
from ltaug.options import ClassifierOptions, SynthesisOptions, judges_needed
from ltaug.pipeline import claim, require_some, with_check
from ltaug.pipeline.plan import WITH_SYNTHETIC, Task, plan_classifiers, task_below
from ltaug.pipeline.schedule import run_tasks
from ltaug.records import GeneratorRecord
from ltaug.runs import Event, Listener, ignore_events

if TYPE_CHECKING:
    from ltaug.report import Report

Given = dict[str, Any]
MAX_ROUNDS, FOLDS, SEEDS = 4, 5, 5
SHARE = 4  # a round's part of fill:max, as a divisor


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the rounds have in common: the generator, the options of their stages, and how much a round adds."""

    generator: Path
    made: GeneratorRecord
    out: Path
    synthesis: Mapping[str, Any]
    classifier: Mapping[str, Any]
    per_round: int
    folds: int

    def judges(self) -> list[Task]:
        """The judges that the selection asks for."""
        asked: Given = {"dataset": plain(self.made.dataset), "seed": self.made.seed}
        number = judges_needed(self.synthesis)
        return [task_below(self.out, f"judges/judge-{i}", "train_judge", {**asked, "index": i}) for i in range(number)]

    def images(self, number: int) -> Path:
        """Where the synthetic images of a round are, with those of all rounds before it."""
        return self.out / f"round-{number}/synthetic"

    def round(self, number: int, budget: str) -> list[Task]:
        """The stages of a round: synthesis, except in round 0, and a classifier for every fold."""
        asked: Given = {"generator": self.generator, "seed": self.made.seed}
        made: list[Task] = []
        if number:
            given = {**self.synthesis, "per_class_budget": budget}
            judges = [task.directory for task in self.judges()] or None
            name = f"round-{number}/synthetic"
            made = [task_below(self.out, name, "synthesize", {**asked, "given": given, "judges": judges})]
        asked |= {"given": dict(self.classifier), "number": number, "folds": self.folds}
        asked["synthetic"] = self.images(number) if number else None
        return [
            *made,
            *(
                task_below(self.out, f"round-{number}/fold-{i}", "cross_fit", {**asked, "fold": i}, made)
                for i in range(self.folds)
            ),
        ]

    def end(self, best: int, seeds: int) -> list[Task]:
        """Classifiers with the images of the best round, those to compare them with, and the report."""
        asked: Given = {"dataset": plain(self.made.dataset), "given": dict(self.classifier)}
        added = self.images(best) if best else None
        fits = plan_classifiers(
            **asked, out=self.out / "classifiers", seeds=seeds, seed=self.made.seed, synthetic=added, arm=WITH_SYNTHETIC
        )
        title = f"Growing synthetic images for {self.made.train_source}"
        kwargs = {"runs": [self.out], "out": self.out / "report", "title": title}
        return [*fits, Task("report", "write_report", kwargs, tuple(t.name for t in fits), self.out / "report")]


def plan_grow(
    generator: Path,
    *,
    out: Path,
    synthesis: Mapping[str, Any],
    classifier: Mapping[str, Any],
    per_round: int | None = None,
    max_rounds: int = MAX_ROUNDS,
    folds: int = FOLDS,
    seeds: int = SEEDS,
) -> tuple[Loop, list[Task]]:
    """The loop, and every stage that it takes if all rounds pay; only the budgets of the classes are guessed (`total:N`).

    Raises:
        OptionError: an option that is misspelt, or that nobody reads; a number below 1.
        MismatchError: not a finished fit-generator run.
    """
    require_some(("--per-round", per_round), ("--max-rounds", max_rounds), ("--seeds", seeds))
    if folds < 2:
        raise OptionError(f"--folds {folds} must be at least 2, so that each image can be held out of a training")
    if "per_class_budget" in synthesis:
        raise OptionError("synthesis has per_class_budget, which the rounds find out; leave it out, and give per_round instead")
    made = GeneratorRecord.read(generator, finished=True)
    if per_round is None:
        missing = sum(max(made.class_counts) - n for n in made.class_counts)
        per_round = -(-missing // SHARE)
        if not missing:
            raise OptionError(
                f"every class of {made.train_source} has {made.class_counts[0]} images; say how many with --per-round N"
            )
    loop = Loop(
        generator=generator,
        made=made,
        out=out,
        synthesis=checked(SynthesisOptions, synthesis, where="synthesize"),
        classifier=checked(ClassifierOptions, classifier, where="train-classifier"),
        per_round=per_round,
        folds=folds,
    )
    rounds = [task for r in range(max_rounds + 1) for task in loop.round(r, f"total:{r * per_round}")]
    return loop, [*loop.judges(), *rounds, *loop.end(max_rounds, seeds)]


def grow(
    generator: Path,
    *,
    out: Path,
    synthesis: Mapping[str, Any] | None = None,
    classifier: Mapping[str, Any] | None = None,
    per_round: int | None = None,
    max_rounds: int = MAX_ROUNDS,
    folds: int = FOLDS,
    seeds: int = SEEDS,
    workers: int | None = None,
    machine: Machine | None = None,
    listener: Listener = ignore_events,
) -> Report:
    """Synthesize in rounds where classifiers err most on real training images that they were not trained on; `ltaug grow`.

    Each round adds `per_round` images to those before, trains a classifier for every fold and compares its predictions for the
    fold's real images with those of the round before (report.growth.Growth.ending says when to stop). Test images decide
    nothing: they are looked at once, by the classifiers that are trained with the images of the best round, and in the report.
    If interrupted, the same call resumes. As for `run_recipe`, a script calls this under `if __name__ == "__main__"`.

    Args:
        generator: a finished fit-generator run; its dataset and draw are the real images here.
        synthesis, classifier: SynthesisOptions (but the budget) and ClassifierOptions by name.
        per_round: images that a round adds; None: a quarter of what fill:max asks for.
        seeds: classifiers of each arm at the end.
        workers: see `run_recipe`.

    Raises:
        LtaugError: see `plan_grow`, or a stage's mistake or mismatch.
    """
    asked: Given = {"synthesis": synthesis or {}, "classifier": classifier or {}, "per_round": per_round, "folds": folds}
    loop, everything = plan_grow(generator, out=out, max_rounds=max_rounds, seeds=seeds, **asked)
    how: Given = {"workers": workers, "machine": machine, "listener": listener}
    with claim(out, "grow"):
        run_tasks(with_check([*loop.judges(), *loop.round(0, "")], asked=everything), **how)
        from ltaug.report.growth import read_growth  # loads numpy, which the parent does without while workers run

        for number in range(1, max_rounds + 2):
            (growth,) = read_growth([out / f"round-{r}" for r in range(number)])
            listener(Event("", growth.rounds[-1].text))
            if growth.ending or number > max_rounds:
                break
            run_tasks(loop.round(number, json.dumps(growth.next_budget(loop.per_round))), **how)
        listener(Event("", growth.stopped))
        results = run_tasks(loop.end(growth.best, seeds), **how)
    return cast("Report", results["report"])
