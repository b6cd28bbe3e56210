"""Synthetic sets of known worth through the whole tool: is every verdict right?

    python benchmarks/planted.py --out DIR           digits-lt at five draws

In place of a generator, somebody plants images: held-out real ones (the best that a generator could make), wrongly labelled
ones, copies of the training images, leaked test images, noise. Each set goes through `train-classifier --synthetic` like any
foreign set and is reported with real images alone, with their control (real images resampled) and with a cheap arm.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltaug.data.imageset import ImageSet
from ltaug.data.load import load_dataset
from ltaug.errors import LeakError
from ltaug.options import DatasetOptions
from ltaug.pipeline.plan import Task
from ltaug.pipeline.run import run_tasks
from ltaug.report import Report
from ltaug.stages import train_classifier, write_report

CHEAP = {"loss": "logit-adjusted", "augment": "shift-rotate"}
# Kind -> what the verdict may be. `use` is never recommended but for the first.
RIGHT: Mapping[str, Sequence[str]] = {
    "oracle": ("helped",),
    "wrong labels": ("hurt",),
    "half wrong labels": ("helped", "balance", "undecided"),
    "copies": ("balance", "undecided", "equivalent"),
    "copies +-4": ("balance", "undecided", "equivalent"),
    "noise": ("hurt", "undecided", "equivalent", "balance"),
    "head classes only": ("hurt", "undecided", "equivalent"),
    "leaked test images": (),
}


def plant(kind: str, train: ImageSet, test: ImageSet, rest: ImageSet, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, C, H, W) and labels that fill every class up to the largest, or the head classes by half as many again."""
    rng = np.random.default_rng([seed, list(RIGHT).index(kind)])
    counts = train.class_counts
    head = kind == "head classes only"
    wanted = np.where(counts >= np.median(counts), counts.max() // 2, 0) if head else counts.max() - counts
    labels = np.repeat(np.arange(train.num_classes), wanted)
    source = {"leaked test images": test, "copies": train, "copies +-4": train}.get(kind, rest)
    index = np.concatenate([rng.choice(np.flatnonzero(source.labels == c), n) for c, n in enumerate(wanted)])
    images = np.asarray(source.images[index])
    if kind == "copies +-4":
        images = np.clip(images.astype(int) + rng.integers(-4, 5, images.shape), 0, 255).astype(np.uint8)
    if kind == "noise":
        images = rng.integers(0, 256, images.shape, dtype=np.uint8)
    if kind.endswith("wrong labels"):
        shift = rng.integers(1, train.num_classes, len(labels)) * (rng.random(len(labels)) < (0.5 if "half" in kind else 1))
        labels = (labels + shift) % train.num_classes
    return images, labels


def classifiers(
    dataset: Mapping[str, Any], given: Mapping[str, Any], out: Path, draws: int, workers: int, cheap: Mapping[str, Any]
) -> dict[str, str]:
    """Plant every set, train every arm on every draw; returns the sentence of the refusal for each kind that was refused."""
    refused: dict[str, str] = {}
    tasks = []
    for seed in range(draws):
        drawn = load_dataset(DatasetOptions(**dataset), seed=seed)
        assert drawn.rest is not None, "a draw leaves images out"
        folder = out / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = {kind: folder / f"{kind}.npz" for kind in RIGHT}
        for kind, path in paths.items():
            images, labels = plant(kind, drawn.train, drawn.test, drawn.rest, seed)
            np.savez(path, images=images, labels=labels, class_names=np.array(drawn.train.class_names))
        common = {"dataset": dataset, "seed": seed}
        arms: dict[str, dict[str, Any]] = {"real": {}, "cheap": {"given": {**given, **cheap}}}
        arms |= {"resampled": {"resampled_to": paths["oracle"]}, "resampled head": {"resampled_to": paths["head classes only"]}}
        arms |= {kind: {"synthetic": path} for kind, path in paths.items()}
        for arm, own in arms.items():
            kwargs = {"given": given, **common, **own, "arm": arm, "out": folder / arm, "label": f"{arm}/{seed}"}
            tasks.append(Task(f"seed-{seed}/{arm}", "train_classifier", kwargs, (), folder / arm))
    leaks = [task for task in tasks if task.kwargs["arm"] == "leaked test images"]
    for task in leaks:
        try:
            train_classifier(**task.kwargs)
        except LeakError as error:
            refused["leaked test images"] = str(error)
    run_tasks([task for task in tasks if task not in leaks], workers=workers)
    return refused


def report_on(kind: str, out: Path, draws: int) -> Report:
    """The report on one planted set beside real images alone, its control and the cheap arm."""
    control = "resampled head" if kind == "head classes only" else "resampled"
    runs = [out / f"seed-{seed}" / arm for seed in range(draws) for arm in ("real", control, "cheap", kind)]
    return write_report(runs, out=out / "reports" / kind, baseline="real")


def wrong(kind: str, found: Report) -> str:
    """What is wrong with the verdict on a planted set; "" if it is right."""
    verdict, copies = found.verdict, [gate for gate in found.gates if gate.kind == "copies" and gate.outcome == "warn"]
    if verdict.outcome not in RIGHT[kind]:
        return f"the outcome is {verdict.outcome}"
    if verdict.recommendation.action == "use" and kind != "oracle":
        return "the images are recommended"
    if bool(copies) != kind.startswith("copies"):
        return "copies are reported where there are none" if copies else "the copies are not reported"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    began = time.monotonic()
    dataset = {"dataset": "digits", "imbalance": 100.0, "head": 120, "class_order": "shuffled"}
    refused = classifiers(dataset, {}, asked.out, asked.draws, asked.workers, CHEAP)
    print("| planted | macro recall | outcome | recommendation | headline | right |\n|:--|--:|:--|:--|:--|:--|")
    for kind in RIGHT:
        if kind in refused:
            print(f"| {kind} | – | refused | – | {refused[kind]} | yes |")
            continue
        found = report_on(kind, asked.out, asked.draws)
        arm = next(a for a in found.arms if a.name == kind)
        recall, said = arm.summary["macro_recall"], found.verdict
        cells = (kind, f"{recall.mean:.3f}", said.outcome, said.recommendation.text, said.headline, wrong(kind, found) or "yes")
        print(f"| {' | '.join(cells)} |")
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
