"""What the rounds of `ltaug grow` gained and cost, whether another one pays, and where it should put its images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltaug.errors import CorruptError
from ltaug.records import HELD_OUT_FILE, RunInput, SynthesisRecord
from ltaug.report.collect import run_directories
from ltaug.report.statistics import CONFIDENCE, Paired, t_quantile
from ltaug.report.wording import NOTHING, count, paired_text, plain, seconds
from ltaug.runs import read_run, verify_outputs

Ints = npt.NDArray[np.int64]
ABOUT = (
    "Rounds of synthesis where classifiers erred most on real training images that they were not trained on; test images had no "
    "part in them. Each round holds the images of those before it, and its gain is over the round before. The generator has seen "
    "the held-out images, so compare rounds with each other and not with the test results."
)
NAMED = 3  # confusions that a round names


@dataclass(frozen=True)
class HeldOut:
    """Predictions for real training images by classifiers that were trained without them; the arrays are (N,) each."""

    labels: Ints
    predicted: Ints
    folds: Ints
    class_names: tuple[str, ...]

    @property
    def counts(self) -> Ints:
        """Images held out of each class, (K,)."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """What each image counts in macro recall, (N,): the mean over the classes of which images were held out."""
        return 1 / (self.counts[self.labels] * np.count_nonzero(self.counts))

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.predicted, self.labels)


@dataclass(frozen=True)
class Round:
    """One round: the images so far, and what classifiers trained with them make of the held-out real ones.

    Attributes:
        number: 0 is without synthetic images.
        wanted, kept: synthetic images by class, of all rounds so far.
        recall: macro recall of the held-out images.
        gain: over the round before; None for the first.
        held, errors: by class, how many images were held out and how many of them misread.
        confusions: (class, read as, images of the class that are), the costliest for macro recall first.
        processor: seconds of processor time for synthesis and classifiers, and in the first round with images for judges.
    """

    number: int
    wanted: Mapping[str, int]
    kept: Mapping[str, int]
    recall: float
    gain: Paired | None
    held: Mapping[str, int]
    errors: Mapping[str, int]
    confusions: tuple[tuple[str, str, int], ...]
    processor: float

    @property
    def pays(self) -> bool:
        """Whether its images are shown to raise recall."""
        return self.gain is not None and self.gain.outcome == "up"

    @property
    def costliest(self) -> str:
        """The costliest confusions in words."""
        return ", ".join(f"{n} of {self.held[name]} {name} read as {other}" for name, other, n in self.confusions) or "none"

    @property
    def text(self) -> str:
        """The round in one sentence."""
        recall = f"cross-fitted macro recall {plain(self.recall)}"
        images = count(sum(self.kept.values()), "synthetic image")
        first = f"without synthetic images: {recall}" if self.gain is None else f"{images}: {recall}, {paired_text(self.gain)}"
        return (
            f"Round {self.number}, {first}; costliest confusions: {self.costliest} ({seconds(self.processor)} of processor time)."
        )


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
        one interval, whatever their number (Maurer, Hothorn and Lehmacher 1995).
        """
        last = self.rounds[-1]
        if not any(last.errors.values()):
            return f"Every held-out training image is recognised after round {last.number}, so there is nothing left to gain."
        if last.gain is None or last.pays:
            return None
        gained = f"The images of round {last.number} are not shown to pay ({paired_text(last.gain)})"
        return f"{gained}; the best set is {f'that of round {self.best}' if self.best else 'the real images alone'}."

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
        head = [
            "round",
            "synthetic images",
            "added for",
            "cross-fitted macro recall",
            "gain",
            "costliest confusions",
            "processor",
        ]
        rows = []
        for before, one in zip((None, *self.rounds), self.rounds, strict=False):
            added = {name: n - (before.wanted.get(name, 0) if before else 0) for name, n in one.wanted.items()}
            most = sorted(filter(added.get, added), key=lambda name: -added[name])
            named = ", ".join(f"{name} {added[name]}" for name in most[:NAMED]) + (" ..." if len(most) > NAMED else "")
            asked = f"{sum(one.kept.values()):,} of {sum(one.wanted.values()):,}"
            cells = [asked, named or NOTHING, plain(one.recall), paired_text(one.gain), one.costliest, seconds(one.processor)]
            rows.append([f"{one.number}{' (best)' if one.number == self.best else ''}", *cells])
        return head, rows

    def next_budget(self, images: int) -> dict[str, int]:
        """Images of each class in all after the next round, which adds `images`.

        They are shared out by 1 - recall, estimated as (errors + 1) / (held out + 2) (Laplace's rule of succession), so that a
        class of which nothing was held out counts as one of recall 1/2. What is left by rounding down goes to the largest
        remainders.
        """
        last = self.rounds[-1]
        need = {name: (last.errors[name] + 1) / (last.held[name] + 2) for name in last.held}
        exact = {name: images * share / sum(need.values()) for name, share in need.items()}
        added = {name: int(number) for name, number in exact.items()}
        for name in sorted(exact, key=lambda name: added[name] - exact[name])[: images - sum(added.values())]:
            added[name] += 1
        return {name: last.wanted.get(name, 0) + number for name, number in added.items()}


def gain_of(before: HeldOut, after: HeldOut) -> Paired:
    """Change in macro recall between two rounds with equal folds, with its interval.

    One fit judges all images of a class in a fold, so they are summed: g is what a class in a fold adds to the change. If the
    images change nothing, each g is as likely as -g, and given all |g| the variance of their sum is the sum of g^2. The
    interval takes Student's t with (sum g^2)^2 / sum g^4 degrees of freedom (Satterthwaite 1946), rounded down: it cannot
    exclude zero by a few images that happen to change alike.
    """
    change = after.right.astype(np.int64) - before.right
    cell = before.labels * (before.folds.max() + 1) + before.folds
    g = np.bincount(cell, weights=before.weights * change)
    mean, squares = float(g.sum()), float((g**2).sum())
    df = math.floor(squares**2 / (g**4).sum() + 1e-9) if squares else 1
    half = t_quantile((1 - CONFIDENCE) / 2, df) * math.sqrt(squares)
    n, wins, losses = int(np.count_nonzero(g)), int((change > 0).sum()), int((change < 0).sum())
    return Paired(mean, None, mean - half, mean + half, n, None, wins, losses, (), (), None)


def read_growth(runs: Sequence[Path]) -> tuple[Growth, ...]:
    """The rounds found under the directories, those of one `ltaug grow` together; rounds that miss a fold are left out.

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
    before: HeldOut | None = None
    for number, folds in sorted(found.items()):
        some = next(iter(folds.values()))
        if number != len(rounds) or len(folds) < some["options"]["folds"]:
            break
        seen = _held_out(folds)
        gain = None if before is None else gain_of(before, seen)
        wanted, kept = (some["facts"].get(key, {}) for key in ("wanted", "kept"))
        held, errors = (dict(zip(seen.class_names, map(int, n), strict=True)) for n in (seen.counts, _errors(seen)))
        recall = float(seen.weights @ seen.right)
        took = _processor(folds, first=number == 1)
        rounds.append(Round(number, wanted, kept, recall, gain, held, errors, _confusions(seen), took))
        before = seen
    return Growth(root.name, tuple(rounds))


def _held_out(folds: Mapping[Path, Any]) -> HeldOut:
    """The predictions of all folds, in the order of the training images."""
    parts = []
    for path, record in folds.items():
        verify_outputs(path, record["outputs"])
        with np.load(path / HELD_OUT_FILE) as file:
            fold = np.full(len(file["index"]), record["options"]["fold"])
            parts.append(np.stack([file["index"], file["labels"], file["predicted"], fold]))
    index, labels, predicted, fold = np.concatenate(parts, axis=1)
    order = np.argsort(index)
    if len(np.unique(index)) != len(index):
        raise CorruptError(f"folds below {next(iter(folds)).parent} share images; delete it and run its command again")
    return HeldOut(labels[order], predicted[order], fold[order], tuple(next(iter(folds.values()))["facts"]["class_names"]))


def _errors(seen: HeldOut) -> Ints:
    return np.bincount(seen.labels, weights=~seen.right, minlength=len(seen.class_names)).astype(np.int64)


def _confusions(seen: HeldOut) -> tuple[tuple[str, str, int], ...]:
    """The confusions that take most of macro recall."""
    classes = len(seen.class_names)
    pairs = np.bincount(seen.labels * classes + seen.predicted, minlength=classes**2).reshape(classes, classes)
    np.fill_diagonal(pairs, 0)
    cost = (pairs / np.maximum(seen.counts, 1)[:, None]).ravel()
    worst = [int(i) for i in np.argsort(-cost, kind="stable")[:NAMED] if cost[i] > 0]
    names = seen.class_names
    return tuple((names[i // classes], names[i % classes], int(pairs.flat[i])) for i in worst)


def _processor(folds: Mapping[Path, Any], *, first: bool) -> float:
    """Seconds of the round's classifiers, its synthesis and, if it is the first, of the judges."""
    took = math.fsum(record["spent"]["processor"] for record in folds.values())
    path, record = next(iter(folds.items()))
    if (added := record["inputs"]["synthetic"]) is None:
        return took
    synthesis = RunInput(added["digest"], path / added["path"]).open(SynthesisRecord)
    runs = [] if synthesis is None else [synthesis, *(synthesis.judges() if first else ())]
    return took + math.fsum(run.processor or 0.0 for run in runs if run is not None)
