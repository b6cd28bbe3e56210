"""What the rounds of `ltaug grow` gained and cost, whether another one pays, and where it should put its images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.records import HELD_OUT_FILE, RunInput, SynthesisRecord
from ltaug.report.collect import run_directories
from ltaug.report.statistics import Paired, paired
from ltaug.report.wording import NOTHING, count, paired_text, plain, seconds
from ltaug.runs import read_run, verify_outputs

Counts = npt.NDArray[np.float64]  # (K, K), images by true class (row) and predicted class (column)
ABOUT = (
    "Rounds of synthesis where classifiers erred most on real training images that they were not trained on; test images had no "
    "part in it. A round has the images of those before it too, and its gain is over the round before. As the generator has seen "
    "the held-out images, compare rounds with each other and not with results on test images."
)
NAMED = 3  # classes and confusions that a round names


@dataclass(frozen=True)
class Round:
    """One round: the images so far, and what classifiers trained with them make of the held-out real ones.

    Attributes:
        number: 0 is without synthetic images.
        wanted, kept: synthetic images by class, of all rounds so far.
        recall: macro recall over the classes of which images were held out, mean over repetitions.
        gain: over the round before, paired by repetition; None for the first.
        confusion: held-out images by true class and predicted class, mean over repetitions.
        processor: seconds of processor time for synthesis and classifiers, and in the first round with images for judges.
    """

    number: int
    wanted: Mapping[str, int]
    kept: Mapping[str, int]
    recall: float
    gain: Paired | None
    confusion: Mapping[str, Mapping[str, float]]
    processor: float

    @property
    def pays(self) -> bool:
        """Whether its images are shown to raise recall."""
        return self.gain is not None and self.gain.outcome == "up"

    @property
    def misread(self) -> list[tuple[float, str, str]]:
        """(share of the class, class, read as), the costliest for macro recall first."""
        found = [
            (n / sum(row.values()), name, other)
            for name, row in self.confusion.items()
            for other, n in row.items()
            if n and other != name
        ]
        return sorted(found, key=lambda one: -one[0])

    def needs(self) -> dict[str, float]:
        """1 - recall of each class as (errors + 1) / (held out + 2) (Laplace's rule of succession): 1/2 if none was held out."""
        held = {name: sum(row.values()) for name, row in self.confusion.items()}
        return {name: (n - self.confusion[name][name] + 1) / (n + 2) for name, n in held.items()}


@dataclass(frozen=True)
class Growth:
    """All rounds of one `ltaug grow`, from the one without synthetic images on."""

    name: str
    rounds: tuple[Round, ...]

    @property
    def best(self) -> int:
        """The last round whose images are shown to pay; 0 where none are."""
        return max((r.number for r in self.rounds if r.pays), default=0)

    @property
    def ending(self) -> str | None:
        """Why another round would not pay, in one sentence; None where it may.

        A round is followed by another only if its gain's interval lies above zero. So each gain is tested only after those
        before it have been shown (a fixed sequence), and the chance that any round is wrongly said to pay stays at the level of
        one interval, whatever their number (Maurer, Hothorn and Lehmacher 1995). Like the verdict's seeds, repetitions vary folds
        and fits, and not the images.
        """
        last, used = self.rounds[-1], f"those of round {self.best}" if self.best else "no synthetic images"
        if not last.misread:
            perfect = f"Round {last.number} recognises every held-out training image, so there is nothing left to gain"
            return f"{perfect}; {used} are used."
        if last.gain is None or last.pays:
            return None
        return f"The images of round {last.number} are not shown to pay ({paired_text(last.gain)}), so {used} are used."

    @property
    def stopped(self) -> str:
        """Why there are no more rounds."""
        return (
            self.ending
            or f"Stopped after {count(self.rounds[-1].number, 'round')}, as many as were allowed, while they still pay."
        )

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and a row for each round."""
        head = ["round", "synthetic images", "most of them", "cross-fitted macro recall", "gain", "misread most", "processor"]
        rows = []
        for one in self.rounds:
            most = [f"{name} ({one.kept[name]})" for name in sorted(one.kept, key=lambda name: -one.kept[name])[:NAMED]]
            misread = [f"{name} as {other} ({share:.0%})" for share, name, other in one.misread[:NAMED]]
            images = f"{sum(one.kept.values()):,} of {sum(one.wanted.values()):,}"
            numbers = (plain(one.recall), paired_text(one.gain), ", ".join(misread) or "none", seconds(one.processor))
            rows.append([str(one.number), images, ", ".join(most) or NOTHING, *numbers])
        return head, rows

    def next_budget(self, images: int) -> dict[str, int]:
        """Images of each class in all after the next round, which adds `images`: by need, rounded to the largest remainders.

        A class that fell short of its images gets no more, unless all did: its candidates hardly pass the selection.
        """
        last, needs = self.rounds[-1], self.rounds[-1].needs()
        short = {name for name, n in last.wanted.items() if last.kept[name] < n}
        needs = {name: need for name, need in needs.items() if name not in short} or needs
        exact = {name: images * need / math.fsum(needs.values()) for name, need in needs.items()}
        added = {name: int(number) for name, number in exact.items()}
        for name in sorted(exact, key=lambda name: added[name] - exact[name])[: images - sum(added.values())]:
            added[name] += 1
        return {name: last.wanted.get(name, 0) + added.get(name, 0) for name in last.confusion}


def read_growth(runs: Sequence[Path]) -> tuple[Growth, ...]:
    """The rounds found under the directories, those of one `ltaug grow` together, up to the first that is not complete.

    Raises:
        CorruptError: a run is damaged.
    """
    found: dict[Path, dict[int, dict[Path, Any]]] = {}
    for path in run_directories(runs):
        record = read_run(path)
        if record["stage"] == "cross-fit" and record["status"] == "finished":
            found.setdefault(path.parents[1], {}).setdefault(record["options"]["round"], {})[path] = record
    return tuple(growth for root, rounds in found.items() if (growth := _growth(root, rounds)).rounds)


def _growth(root: Path, found: Mapping[int, Mapping[Path, Any]]) -> Growth:
    rounds: list[Round] = []
    before: Mapping[int, float] = {}
    for number, fits in sorted(found.items()):
        some = next(iter(fits.values()))
        told, facts = some["options"], some["facts"]
        if number != len(rounds) or len(fits) < told["folds"] * told["repeats"]:
            break
        names, counts = facts["class_names"], _counts(fits)
        recalls = {repeat: macro_recall(one) for repeat, one in counts.items()}
        mean = np.mean(list(counts.values()), axis=0)
        rounds.append(
            Round(
                number=number,
                wanted=facts.get("wanted", {}),
                kept=facts.get("kept", {}),
                recall=math.fsum(recalls.values()) / len(recalls),
                gain=paired(recalls, before) if rounds else None,
                confusion={name: dict(zip(names, map(float, row), strict=True)) for name, row in zip(names, mean, strict=True)},
                processor=_processor(fits, first=number == 1),
            )
        )
        before = recalls
    return Growth(root.name, tuple(rounds))


def macro_recall(counts: Counts) -> float:
    """Mean recall of the classes that have images."""
    held = counts.sum(axis=1)
    return float((counts.diagonal()[held > 0] / held[held > 0]).mean())


def _counts(fits: Mapping[Path, Any]) -> dict[int, Counts]:
    """Of each repetition all folds together."""
    found: dict[int, Counts] = {}
    for path, record in fits.items():
        verify_outputs(path, record["outputs"])
        classes, repeat = len(record["facts"]["class_names"]), record["options"]["repeat"]
        with np.load(path / HELD_OUT_FILE) as file:
            pairs = np.bincount(file["labels"] * classes + file["predicted"], minlength=classes**2)
        found[repeat] = found.get(repeat, 0) + pairs.reshape(classes, classes).astype(np.float64)
    return found


def _processor(fits: Mapping[Path, Any], *, first: bool) -> float:
    """Seconds of the round's classifiers, its synthesis and, if it is the first, of the judges."""
    took = math.fsum(record["spent"]["processor"] for record in fits.values())
    path, record = next(iter(fits.items()))
    if (added := record["inputs"]["synthetic"]) is None:
        return took
    synthesis = RunInput(added["digest"], path / added["path"]).open(SynthesisRecord)
    made = [] if synthesis is None else [synthesis, *(synthesis.judges() if first else ())]
    return took + math.fsum(run.processor or 0.0 for run in made if run is not None)
