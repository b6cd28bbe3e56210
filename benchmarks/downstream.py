"""Which use of synthetic images pays: recipes searched over stored pools, on development draws and images only.

    python benchmarks/downstream.py natural --data DATA --work WORK          WORK/natural16.npz, from DATA's CIFAR-100 zips
    python benchmarks/downstream.py pool digits 400 --work WORK --generator '{"objective": "ddpm"}' --name ddpm --guidance 0
    python benchmarks/downstream.py arms digits 400 --work WORK --file ARMS
    python benchmarks/downstream.py table digits --work WORK --against NAME

A pool is made once a draw: a generator and some thousand candidates. An arm is a line of ARMS (downstream_arms.txt): a name, a
colon, and JSON with "pool" (GENERATOR-GUIDANCE, or "resampled": real images drawn again), "judges" (as in "la,ldam,la"; trained
when first needed), "synthesize" (selection and budget) and "train-classifier". It is trained on the draw and on what the
selection keeps of the pool, and measured on training images that the draw leaves out, classes weighted equally. The test images
are not read. Results are lines of WORK/results.jsonl; an arm that has one is skipped.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ltaug import stages
from ltaug.classifier.fit import fit_classifier
from ltaug.classifier.judge import Judge, probabilities
from ltaug.data.budgets import parse_budget
from ltaug.data.imageset import ImageSet
from ltaug.data.load import load_dataset
from ltaug.data.longtail import resample
from ltaug.fields import resolve
from ltaug.generator.generate import Generator, generate
from ltaug.generator.sampling import Sampling
from ltaug.machine import Machine
from ltaug.manifest import KEPT
from ltaug.options import ClassifierOptions, DatasetOptions, SynthesisOptions
from ltaug.runtime import make_runtime
from ltaug.synthesis.select import Candidates, fit_selection
from ltaug.synthesis.stage import rules_of

LONG_TAILED = {"imbalance": 100.0, "class_order": "shuffled"}
SETS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "digits", "head": 120},
    "fashion": {"dataset": "{data}/fashion16.npz", "head": 300},
    "natural": {"dataset": "{work}/natural16.npz", "head": 400},
}
TRAINING = {
    "digits": {"augment": "shift-rotate", "steps": 750},
    "fashion": {"augment": "crop-flip", "steps": 1000},
    "natural": {"augment": "crop-flip", "steps": 1500},
}
JUDGE_STEPS = {"digits": 600, "fashion": 800, "natural": 1500}
JUDGES = {"la": {"loss": "logit-adjusted"}, "ldam": {"loss": "ldam", "reweight_from": 0.8}}
LARGER = 3  # candidates of a pool for each image that fill:max wants
MEASURED = 6000  # left-out images at most
MACHINE = Machine(device="cpu", threads=1)
CPU = make_runtime("cpu", threads=1)


def dataset_of(a: argparse.Namespace) -> dict[str, Any]:
    own = SETS[a.set] | {"dataset": SETS[a.set]["dataset"].format(data=a.data, work=a.work)}
    return LONG_TAILED | own


def make_natural(a: argparse.Namespace) -> None:
    """Every tenth class of CIFAR-100 by name, all 500 training images, halved to 16 pixels by averaging."""
    found: dict[str, list[tuple[np.ndarray, str]]] = {"train": [], "test": []}
    for name in ("cifar100-lt.zip", "cifar100-rest-0.zip", "cifar100-rest-1.zip"):
        with zipfile.ZipFile(a.data / name) as archive:
            files = sorted(n for n in archive.namelist() if n.endswith(".png"))
            if name == "cifar100-lt.zip":
                chosen = sorted({n.split("/")[-2] for n in files})[::10]
            for file in files:
                *_, split, label, _ = ("", *file.split("/"))
                if label in chosen:
                    pixels = np.asarray(Image.open(io.BytesIO(archive.read(file))).convert("RGB"), np.float64)
                    halved = pixels.reshape(16, 2, 16, 2, 3).mean((1, 3)).round().astype(np.uint8).transpose(2, 0, 1)
                    found["test" if split == "test" else "train"].append((halved, label))
    arrays = {}
    for split, prefix in (("train", ""), ("test", "test_")):
        arrays[f"{prefix}images"] = np.stack([image for image, _ in found[split]])
        arrays[f"{prefix}labels"] = np.array([chosen.index(label) for _, label in found[split]])
    np.savez_compressed(a.work / "natural16.npz", class_names=np.array(chosen), **arrays)


def make_pool(a: argparse.Namespace) -> None:
    """Fit the generator of a draw, unless it is there, and store candidates."""
    dataset, folder = dataset_of(a), a.work / f"{a.set}-{a.seed}"
    train = load_dataset(DatasetOptions(**dataset), seed=a.seed).train
    fitted = stages.fit_generator(dataset, json.loads(a.generator), out=folder / a.name, seed=a.seed, machine=MACHINE)
    generator = Generator.load(fitted, runtime=CPU)
    wanted = LARGER * (train.class_counts.max() - train.class_counts)
    keys = [(c, i) for c in range(train.num_classes) for i in range(wanted[c])]
    for guidance in a.guidance:
        sampled = {"seed": a.seed, "runtime": CPU, "sampling": Sampling(guidance=guidance)}
        images = generate(generator.denoiser, keys, image_shape=generator.image_shape, **sampled)
        np.savez(folder / f"{a.name}-{guidance:g}.npz", images=images, labels=np.array([c for c, _ in keys]))


def measure_arms(a: argparse.Namespace) -> None:
    """Train and measure the arms of a file on one draw."""
    folder, results = a.work / f"{a.set}-{a.seed}", a.work / "results.jsonl"
    data = load_dataset(DatasetOptions(**dataset_of(a)), seed=a.seed)
    assert data.rest is not None
    rows = np.random.default_rng(0).permutation(len(data.rest))[:MEASURED]
    measured, rare = data.rest.take(np.sort(rows)), np.argsort(data.train.class_counts, kind="stable")
    seen: dict[str, Candidates] = {}
    for line in a.file.read_text().splitlines():
        name, _, text = line.partition(":")
        if not text or name.startswith("#") or (a.set, a.seed, name) in {(r["set"], r["seed"], r["arm"]) for r in read(results)}:
            continue
        arm = json.loads(text)
        options = resolve(ClassifierOptions, {**TRAINING[a.set], **arm.get("train-classifier", {})}, image_side=16)
        judges, made = judges_of(arm.get("judges", ""), a, folder), None
        if arm.get("pool") == "resampled":
            made = resample(data.train, data.train.class_counts.max() - data.train.class_counts, seed=a.seed)
        elif "pool" in arm:
            made = chosen(arm, folder, data.train, judges, seen)
        began, teachers = time.process_time(), judges if options.distill != "none" else ()
        network, _ = fit_classifier(data.train, options, synthetic=made, teachers=teachers, seed=a.seed, runtime=CPU)
        said = probabilities(network, measured.images, runtime=CPU).argmax(1)
        recall = np.array([(said[measured.labels == c] == c).mean() for c in range(measured.num_classes)])
        result = {
            "set": a.set,
            "seed": a.seed,
            "arm": name,
            "recall": recall.mean(),
            "few": recall[rare[:3]].mean(),
            "many": recall[rare[-3:]].mean(),
            "synthetic": 0 if made is None else len(made),
            "seconds": time.process_time() - began,
        }
        with results.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(result, flush=True)


def judges_of(kinds: str, a: argparse.Namespace, folder: Path) -> list[Judge]:
    """Judges of these kinds, each the next of its kind."""
    found: list[Judge] = []
    named = list(filter(None, kinds.split(",")))
    for place, kind in enumerate(named):
        number = named[:place].count(kind)
        given = JUDGES[kind] | TRAINING[a.set] | {"steps": JUDGE_STEPS[a.set]}
        how = {"out": folder / f"{kind}-{number}", "seed": 1000 * a.seed + number + 7, "draw_seed": a.seed, "machine": MACHINE}
        found.append(Judge.load(stages.train_classifier(dataset_of(a), given, arm=kind, **how), runtime=CPU))
    return found


def chosen(arm: dict[str, Any], folder: Path, train: ImageSet, judges: list[Judge], seen: dict[str, Candidates]) -> ImageSet:
    """What the arm's selection keeps of its pool, up to its budget."""
    options = resolve(SynthesisOptions, arm.get("synthesize", {}), image_side=16)
    selection, key = fit_selection(train, judges, rules_of(options)), f"{arm['pool']}/{arm.get('judges')}"
    if key not in seen:
        with np.load(folder / f"{arm['pool']}.npz") as stored:
            seen[key] = Candidates(stored["images"], stored["labels"], selection.real)
    pool = seen[key]
    passed = np.array([verdict == KEPT for verdict in selection(pool)])
    budget = parse_budget(options.per_class_budget, class_names=train.class_names, class_counts=train.class_counts)
    rows = [np.flatnonzero(passed & (pool.labels == c))[:n] for c, n in enumerate(budget.values())]
    index = np.concatenate(rows)
    return ImageSet(pool.images[index], pool.labels[index], train.class_names, arm["pool"])


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def show_table(a: argparse.Namespace) -> None:
    """Mean recall of every arm, and its paired difference from one of them with the standard error."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for result in read(a.work / "results.jsonl"):
        if result["set"] == a.set:
            found[result["arm"]][result["seed"]] = result
    print("| arm | draws | macro recall | few | many | against | processor s |\n|:--|--:|--:|--:|--:|--:|--:|")
    for arm, by_seed in sorted(found.items(), key=lambda item: np.mean([r["recall"] for r in item[1].values()])):
        mean = {key: np.mean([r[key] for r in by_seed.values()]) for key in ("recall", "few", "many", "seconds")}
        shared = [seed for seed in by_seed if seed in found[a.against]]
        gains = np.array([by_seed[s]["recall"] - found[a.against][s]["recall"] for s in shared])
        error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.nan
        cells = [f"{mean[key]:.3f}" for key in ("recall", "few", "many")]
        print(f"| {arm} | {len(by_seed)} | {' | '.join(cells)} | {gains.mean():+.3f} ± {error:.3f} | {mean['seconds']:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)
    for name, action, needs in (
        ("natural", make_natural, ""),
        ("pool", make_pool, "set seed generator name guidance"),
        ("arms", measure_arms, "set seed file"),
        ("table", show_table, "set against"),
    ):
        step = steps.add_parser(name, help=action.__doc__)
        step.set_defaults(action=action)
        step.add_argument("--data", type=Path, default=Path("data"), help="folder of fashion16.npz and the CIFAR-100 zips")
        step.add_argument("--work", type=Path, required=True)
        if "set" in needs:
            step.add_argument("set", choices=SETS)
        if "seed" in needs:
            step.add_argument("seed", type=int)
        if "generator" in needs:
            step.add_argument("--generator", default="{}", help="GeneratorOptions as JSON")
            step.add_argument("--name", required=True)
            step.add_argument("--guidance", type=float, nargs="+", default=[0.0])
        if "file" in needs:
            step.add_argument("--file", type=Path, required=True)
        if "against" in needs:
            step.add_argument("--against", required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    a.work.mkdir(parents=True, exist_ok=True)
    a.action(a)


if __name__ == "__main__":
    main()
