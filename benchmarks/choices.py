"""Which settings make the best generator of a few minutes: each is fitted for equal time, and measured against images left out.

    python benchmarks/choices.py --dataset folder:cifar100-lt --reference folder:rest --out runs/choices --minutes 2

The reference must be images that nothing is trained on and that no reported figure is computed from: not the test set. What
looks is a classifier of the long-tailed training set, the same for all. Settings start from those of cifar100-lt-10min.
Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from tables import add_json, show

import ltaug
from ltaug.fields import resolve
from ltaug.files import read_json
from ltaug.generator.stage import seconds_per_step
from ltaug.machine import Machine
from ltaug.options import DatasetOptions, GeneratorOptions
from ltaug.recipes import read_recipe, recipe_path
from ltaug.runtime import for_fit, make_runtime

CHOICES: dict[str, dict[str, Any]] = {
    "as in the recipe": {},
    "edm": {"preconditioning": "edm"},
    "edm, lr 1e-3": {"preconditioning": "edm", "lr": 1e-3},
    "channels 96": {"channels": 96},
    "batch 256": {"batch_size": 256},
    "lr 1e-3": {"lr": 1e-3},
    "ada": {"augment": "ada"},
    "objective ddpm": {"objective": "ddpm", "label_set": None},
}
SMALL = {"channels": 8, "channel_mults": [1, 2], "blocks": 1, "attention": [], "batch_size": 8}


def settings_for(name: str, *, tiny: bool) -> dict[str, Any]:
    """GeneratorOptions by name; None in a choice takes an option of the recipe away."""
    given = read_recipe(recipe_path("cifar100-lt-10min")).tables["fit-generator"] | CHOICES[name] | (SMALL if tiny else {})
    return {key: value for key, value in given.items() if value is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.5, help="of each fit")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--tiny", action="store_true", help="at a size that shows only that it works")
    add_json(parser)
    a = parser.parse_args()
    machine = Machine(device=a.device)
    dataset = {"dataset": a.dataset}
    classifier = {"model": "resnet8", "steps": 5} if a.tiny else {"epochs": 40}
    looker = ltaug.train_classifier(dataset, classifier, out=a.out / "extractor", seed=a.seed, machine=machine)
    train = ltaug.load_dataset(resolve(DatasetOptions, dataset, image_side=0), seed=a.seed).train
    side, rows = max(train.image_shape[1:]), []
    for number, name in enumerate(list(CHOICES)[: 2 if a.tiny else None]):
        given = settings_for(name, tiny=a.tiny)
        runtime = make_runtime(a.device)
        options = resolve(GeneratorOptions, given, image_side=side)
        fitting = for_fit(runtime, machine, image_side=side, steps=options.steps)
        each = seconds_per_step(train, dataclasses.replace(options, steps=20), fitting, steps=20 if not a.tiny else 1)
        steps = 3 if a.tiny else max(100, round(60 * a.minutes / each, -2))
        run = a.out / f"{number:02d}"
        if (run / "run.json").exists():
            steps = read_json(run / "run.json")["options"]["fit-generator"]["steps"]
        given |= {"steps": int(steps), "warmup": min(options.warmup, int(steps) // 10)}
        ltaug.fit_generator(dataset, given, out=run, seed=a.seed, machine=machine)
        how = {"extractor": f"classifier:{looker}", "reference": a.reference, "samples": 200 if a.tiny else a.samples}
        measured = a.out / f"{number:02d}-evaluated"
        ltaug.evaluate_generator(run, how | ({"sample_steps": 2} if a.tiny else {}), out=measured, seed=a.seed, machine=machine)
        found = read_json(measured / "metrics.json")["summary"]
        figures = {key: found.get(key) for key in ("fid", "precision", "recall", "consistency")}
        rows.append({"choice": name, "steps": int(steps), "ms a step": 1e3 * each} | figures)
    title = f"Generators of {a.minutes:g} minutes on {a.dataset}, against {a.reference}"
    show(title, rows, device=str(runtime.device.type), json_file=a.json)


if __name__ == "__main__":
    main()
