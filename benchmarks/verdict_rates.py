"""How often the verdict is wrong, and how often it sees what is there: simulated experiments through the real `verdict()`.

    python benchmarks/verdict_rates.py                    the tables of docs/verdict.md, five minutes on two cores
    python benchmarks/verdict_rates.py --experiments 200  a quick look

An experiment has arms with known true means. A seed shifts all arms together (standard deviation .03) and every arm by its own
noise (.0198, so that a paired difference has .028, as on digits-lt). Macro precision is recall's noise mixed with as much of its
own; many- and few-shot recall have twice the noise. Every experiment is looked at with 3, 5 and 10 seeds, and a claim is
false if it is false at any of the looks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ltaug.report.arms import Rivals, Scores
from ltaug.report.decision import MARGIN
from ltaug.report.statistics import paired
from ltaug.report.verdict import Verdict, verdict

NOISE = 0.0198
SHIFT = 0.03
LOOKS = (3, 5, 10)
METRICS = ("macro_recall", "macro_precision", "recall/many", "recall/few")


@dataclass(frozen=True)
class Cell:
    """A kind of experiment: true means of the arms and what their noise is like.

    `arms` maps names to true means; real is the baseline, resampled its control; names that start with g have synthetic images.
    """

    name: str
    arms: Mapping[str, float]
    noise: str = "normal"
    spread: Mapping[str, float] = field(default_factory=dict)  # arm -> factor on its noise
    shared: float = 0.0  # noise that the arms with synthetic images share (draw and generator), as a factor
    fixed: bool = False  # the shared noise is drawn once: the claim is about this draw and generator
    head_classes: int = 0  # > 0: that many classes, equal in truth
    # arm with synthetic images -> the arm trained alike, if not real; its control, if not resampled, where there is none
    partners: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # metric -> arm -> another true mean than in `arms`


def arms(real: float, cheap: list[float], generated: list[float]) -> dict[str, float]:
    """real, resampled, the other arms without synthesis, those with it."""
    named = {"real": real, "resampled": cheap[0]} | {f"cheap{i}": mean for i, mean in enumerate(cheap[1:], 1)}
    return named | {f"g{i}": mean for i, mean in enumerate(generated)}


EQUAL_4, EQUAL_12 = arms(0, [0], [0, 0]), arms(0, [0] * 5, [0] * 6)
LEADS = arms(-0.1, [-0.1, -0.1, -0.1, 0], [0] * 5)  # synthetic images help; one cheap arm does exactly as well
CALM = dict.fromkeys(LEADS, 0.5)
# The arms and the noise of digits-lt: cheap3 is the control of g1 and g2, which no other arm is trained alike with.
AS_DIGITS = {"real": 1.5, "resampled": 1.5, "g0": 1.5, "cheap1": 0.6, "cheap2": 1, "cheap3": 0.4, "g1": 0.4, "g2": 0.4}
TAUGHT = {"spread": AS_DIGITS, "controls": {"g1": "cheap3", "g2": "cheap3"}}
NULL = (
    Cell("4 arms, equal", EQUAL_4),
    Cell("12 arms, equal", EQUAL_12),
    Cell("12 arms, equal, 8 generators", arms(0, [0, 0], [0] * 9)),
    Cell(
        "12 arms, equal, noise x 1 to 3", EQUAL_12, spread={f"g{i}": 1 + 0.4 * i for i in range(6)} | {"cheap1": 2, "cheap2": 3}
    ),
    Cell("12 arms, equal, noisy baseline", EQUAL_12, spread={"real": 3}),
    Cell("12 arms, equal, generators share noise", EQUAL_12, shared=1.5),
    Cell("12 arms, equal, fixed draw", EQUAL_12, shared=1.5, fixed=True),
    Cell("12 arms, equal, bimodal", EQUAL_12, noise="bimodal"),
    Cell("4 arms, equal, bimodal", EQUAL_4, noise="bimodal"),
    Cell("12 arms, equal, 40 classes", EQUAL_12, head_classes=40),
)
PARTIAL = (
    Cell("all help, one cheap arm as good", LEADS),
    Cell("the same, that arm noise x 2", LEADS, spread={"cheap3": 2}),
    Cell("the same, generators noise x 2", LEADS, spread={f"g{i}": 2 for i in range(5)}),
    Cell("the same, generators share noise", LEADS, shared=1.5),
    Cell("the same, bimodal", LEADS, noise="bimodal"),
    Cell("gain over real, none over resampled", arms(-0.1, [0, 0, 0, 0], [0] * 5)),
    Cell("cheap arm better by the margin", arms(-0.1, [-0.1, 0, 0, 0.02], [0] * 5)),
    Cell("one generator better by the margin", arms(-0.1, [-0.1, 0, 0, 0], [0, 0, 0, 0, 0.02])),
    Cell("all hurt but one, which is equal", arms(0, [0, 0], [-0.1, -0.1, 0])),
    Cell(
        "recall rises, precision does not", arms(-0.1, [-0.1] * 4, [0] * 5), also={"macro_precision": arms(0, [0] * 4, [0] * 5)}
    ),
    Cell("equal but for few-shot recall, lower by the margin", EQUAL_4, also={"recall/few": arms(0, [0], [-MARGIN, -MARGIN])}),
    Cell("two of five add nothing to better training", LEADS, partners={"g3": "cheap3", "g4": "cheap3"}),
    Cell("one generator better by the margin, half the noise", arms(-0.1, [-0.1, 0, 0, 0], [0, 0, 0, 0, 0.02]), spread=CALM),
    Cell("4 arms, images cost the margin", arms(0, [0], [-MARGIN, -MARGIN])),
    Cell("as digits-lt, images add nothing to teaching", arms(0, [0, 0.13, 0.13, 0.15], [0, 0.15, 0.15]), **TAUGHT),
    Cell("as digits-lt, all trained better are equal", arms(0, [0, 0.15, 0.15, 0.15], [0, 0.15, 0.15]), **TAUGHT),
)
POWER = (
    Cell("10 arms, all five with synthesis .05 above the best without", arms(-0.1, [-0.1, -0.05, -0.02, 0], [0.05] * 5)),
    Cell("10 arms, two of five .05 above", arms(-0.1, [-0.1, -0.05, -0.02, 0], [0, 0.01, 0.02, 0.05, 0.05])),
    Cell("10 arms, one of five .05 above", arms(-0.1, [-0.1, -0.05, -0.02, 0], [0, 0.01, 0.02, 0.03, 0.05])),
    Cell("10 arms, three cheap arms equally good, all five .05 above", arms(-0.1, [-0.1, 0, 0, 0], [0.05] * 5)),
    Cell("4 arms, one .05 above real and resampled", arms(0, [0], [0, 0.05])),
    Cell("4 arms, one .10 above real and resampled", arms(0, [0], [0, 0.1])),
    Cell("10 arms, a cheap arm .05 above all", arms(-0.1, [-0.1, 0, 0, 0.05], [0] * 5)),
    Cell("10 arms, all equal but real", arms(-0.1, [0] * 4, [0] * 5)),
    Cell("as digits-lt, one adds .02 to teaching", arms(0, [0, 0.13, 0.13, 0.15], [0, 0.15, 0.17]), **TAUGHT),
)


def draw(cell: Cell, rng: np.random.Generator) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, np.ndarray]]]:
    """True means and values of one experiment: metric -> arm -> mean, and metric -> arm -> (10,)."""
    n = LOOKS[-1]
    together = rng.normal(0, cell.shared * NOISE, 1 if cell.fixed else n)
    truth: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    values: dict[str, dict[str, np.ndarray]] = {metric: {} for metric in METRICS}
    shift = {metric: rng.normal(0, SHIFT, n) for metric in METRICS}
    for arm in cell.arms:
        first = noise(cell, rng, n)
        for metric in METRICS:
            mean = cell.also.get(metric, cell.arms)[arm]
            own = first if metric == "macro_recall" else (first + noise(cell, rng, n)) / np.sqrt(2)
            size = NOISE * cell.spread.get(arm, 1.0) * (2 if "/" in metric else 1)
            extra = together if arm.startswith("g") else np.zeros(1)
            truth[metric][arm] = mean + (float(extra[0]) if cell.fixed else 0.0)
            values[metric][arm] = 0.7 + mean + shift[metric] + size * own + extra
    return truth, values


def noise(cell: Cell, rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise of variance 1, (n,)."""
    if cell.noise == "bimodal":
        return (rng.choice([-1.0, 1.0], n) + rng.normal(0, 0.2, n)) / np.sqrt(1.04)
    return rng.normal(0, 1, n)


def judge(cell: Cell, values: dict[str, dict[str, np.ndarray]], seeds: int, rng: np.random.Generator) -> Verdict:
    """The verdict on the first `seeds` seeds."""
    generated = [arm for arm in cell.arms if arm.startswith("g")]
    table = {arm: {metric: dict(enumerate(values[metric][arm][:seeds].tolist())) for metric in METRICS} for arm in cell.arms}
    scores = Scores(
        values=table,
        synthetic=frozenset(generated),
        partners={arm: cell.partners.get(arm, "real") for arm in generated if arm not in cell.controls},
        controls=dict.fromkeys(generated, "resampled") | dict(cell.controls),
        baseline="real",
        rivals=(Rivals(tuple(generated), True),) if len(generated) > 1 else (),
        fixed_draw=cell.fixed,
    )
    changes = None
    if cell.head_classes:
        of = [{s: float(v) for s, v in enumerate(rng.normal(0, 0.05, seeds))} for _ in range(cell.head_classes)]
        zero = dict.fromkeys(range(seeds), 0.0)
        changes = {arm: {str(i): paired(one, zero) for i, one in enumerate(of)} for arm in generated}
    return verdict(scores, changes)


def claims(found: Verdict, truth: Mapping[str, Mapping[str, float]], cell: Cell) -> tuple[set[str], set[str]]:
    """Kinds of claim that the verdict makes, and those of them that are false."""
    made: set[str] = set()
    false: set[str] = set()

    def claim(kind: str, right: bool) -> None:
        made.add(kind)
        if not right:
            false.add(kind)

    def gap(one, metric: str = "macro_recall") -> float:
        return truth[metric][one.arm] - truth[metric][one.other]

    decision, harm = found.decision, found.harm
    assert decision is not None
    assert harm is not None
    assert decision.best is not None
    recall = truth["macro_recall"]
    without = [arm for arm in cell.arms if not arm.startswith("g")]
    generated = [arm for arm in cell.arms if arm.startswith("g")]
    for gain in decision.helped:
        claim("helped", gap(gain.over_partner) > 0 and (gain.over_control is None or gap(gain.over_control) > 0))
        if gain.second is not None:
            claim("precision too", gap(gain.second, "macro_precision") > 0)
    for gain in (*decision.gains, *decision.added):
        if gain.over_partner.better:
            claim("beats its partner", gap(gain.over_partner) > 0)
        if gain.over_partner.outcome == "equivalent":
            claim("pair as good", abs(gap(gain.over_partner)) < MARGIN)
    for gain in decision.added:
        if gain.better:
            claim("adds to training", gap(gain.over_partner) > 0)
    for gain in decision.hurt:
        claim("hurt", gap(gain.over_partner) < 0)
    if decision.winner:
        claim("beats all without", recall[decision.winner] > max(recall[arm] for arm in without))
    if decision.cheaper:
        claim("cheaper beats all with", recall[decision.cheaper] > max(recall[arm] for arm in generated))
    if decision.best.outcome == "equivalent":
        claim("equivalent", abs(gap(decision.best)) < MARGIN)
    if found.outcome == "equivalent":
        claim("no difference", all(abs(gap(gain.over_partner)) < MARGIN for gain in decision.gains))
    for one, _ in decision.rivals:
        if one.outcome == "equivalent":
            claim("pair as good", abs(gap(one)) < MARGIN)
        if one.outcome in ("better", "worse"):
            claim("generators", (gap(one) > 0) == (one.outcome == "better") and gap(one) != 0)
    for loss in harm.losses:
        change = truth[loss.change.metric][loss.change.arm] - truth[loss.change.metric][loss.change.other]
        if loss.outcome == "lost":
            claim("group lost", change < 0)
        if loss.outcome == "kept":
            claim("group kept", change > -MARGIN)
    if harm.classes:
        claim("class lost", not cell.head_classes)
    if found.outcome == "promising":
        claim("promising", max(recall[arm] for arm in generated) > recall["real"])
    return made, false


def simulate(given: tuple[Cell, int, int]) -> tuple[dict[int, Counter[str]], Counter[str]]:
    """(claims made at each look, false claims at any of the looks) over `experiments` experiments of a cell."""
    cell, experiments, seed = given
    made = {seeds: Counter[str]() for seeds in LOOKS}
    wrong: Counter[str] = Counter()
    for i in range(experiments):
        rng = np.random.default_rng([seed, i])
        truth, values = draw(cell, rng)
        false: set[str] = set()
        for seeds in LOOKS:
            kinds, these = claims(judge(cell, values, seeds, rng), truth, cell)
            made[seeds].update(kinds)
            false |= these
        wrong.update(false | ({"any"} if false else set()))
    return made, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    cells = (*NULL, *PARTIAL, *POWER)
    began = time.monotonic()
    chunks = [(cell, asked.experiments // 4, 100 * i + part) for i, cell in enumerate(cells) for part in range(4)]
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        found = pool.map(simulate, chunks, chunksize=1)
    n = asked.experiments // 4 * 4
    print(f"{n} experiments a cell; Monte Carlo error of a rate of .05: {(0.05 * 0.95 / n) ** 0.5:.3f}\n")
    kinds = ("any", "helped", "beats its partner", "adds to training", "pair as good", "precision too",
             "beats all without", "cheaper beats all with", "equivalent", "no difference",
             "hurt", "generators", "group lost", "group kept", "class lost", "promising")  # fmt: skip
    print("False claims at any of the looks with 3, 5 and 10 seeds:\n")
    print("| truth | " + " | ".join(kinds) + " |\n|:--|" + "--:|" * len(kinds))
    for i, cell in enumerate(cells):
        wrong = sum((found[4 * i + part][1] for part in range(4)), Counter[str]())
        print(f"| {cell.name} | " + " | ".join(f"{wrong[kind] / n:.3f}" if wrong[kind] else "0" for kind in kinds) + " |")
    print("\nClaims made with 3, 5 and 10 seeds:\n")
    shown = ("promising", "helped", "beats all without", "cheaper beats all with", "equivalent")
    print("| truth | " + " | ".join(shown) + " |\n|:--|" + "--:|" * len(shown))
    for i, cell in enumerate(cells):
        if cell in POWER:
            rates = {seeds: sum((found[4 * i + part][0][seeds] for part in range(4)), Counter[str]()) for seeds in LOOKS}
            print(f"| {cell.name} | " + " | ".join(" ".join(f"{rates[s][k] / n:.2f}" for s in LOOKS) for k in shown) + " |")
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
