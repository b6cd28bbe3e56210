"""How the digits recipe's choices were made: on draws and images that the reported experiment never touches.

    python benchmarks/digits_choices.py --draws 6 objective=ddpm
    python benchmarks/digits_choices.py --draws 6 objective=cbdm label-set=bal tau=0.3

Draws have seeds from 100 on, and classifiers are evaluated on the training images that a draw leaves out, with classes
weighted equally; the test images are not read. For every draw: fit the generator with these options, train two judges,
synthesize with and without their agreement, and train classifiers on the result.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch

from ltaug import stages
from ltaug.classifier.judge import load_weights, probabilities
from ltaug.data.load import load_dataset
from ltaug.machine import Machine
from ltaug.options import DatasetOptions
from ltaug.runtime import make_runtime

DATASET = {"dataset": "digits", "imbalance": 100.0, "head": 120, "class_order": "shuffled"}
AUGMENTED = {"augment": "shift-rotate"}
ADJUSTED = {"loss": "logit-adjusted", **AUGMENTED}
ARMS = {
    "real": (None, {}),
    "real, adjusted, augmented": (None, ADJUSTED),
    "all": ("all", {}),
    "selected": ("selected", {}),
    "selected, augmented": ("selected", AUGMENTED),
    "selected at 0.3, adjusted, augmented": ("selected", {**ADJUSTED, "synthetic_weight": 0.3}),
}


def balanced_scores(weights: Path, images, counts: np.ndarray) -> dict[str, float]:
    """Macro recall and precision as on a class-balanced set, and recall of the three rarest classes."""
    runtime = make_runtime("cpu", threads=1)
    found = probabilities(load_weights(weights)[0], images.images, runtime=runtime).argmax(1)
    confusion = np.zeros((images.num_classes, images.num_classes))
    np.add.at(confusion, (images.labels, found), 1)
    confusion /= confusion.sum(1, keepdims=True)
    recall = np.diag(confusion)
    precision = recall / np.maximum(confusion.sum(0), 1e-9)
    rarest = np.argsort(counts, kind="stable")[:3]
    return {"recall": recall.mean(), "precision": precision.mean(), "few": recall[rarest].mean()}


def one_draw(seed: int, generator: dict, folder: Path) -> dict[str, dict[str, float]]:
    machine = Machine(device="cpu", threads=1)
    data = load_dataset(DatasetOptions(**DATASET), seed=seed)
    fitted = stages.fit_generator(DATASET, generator, out=folder / "generator", seed=seed, machine=machine)
    judges = [stages.train_judge(DATASET, out=folder / f"judge-{i}", seed=seed, index=i, machine=machine) for i in range(2)]
    made: dict[str | None, Path | None] = {None: None}
    made["all"] = stages.synthesize(fitted, {}, out=folder / "all", machine=machine)
    agreed = {"select_agreement": True}
    made["selected"] = stages.synthesize(fitted, agreed, out=folder / "selected", judges=judges, machine=machine)
    scores = {}
    for i, (arm, (images, given)) in enumerate(ARMS.items()):
        out = stages.train_classifier(
            DATASET, given, synthetic=made[images], arm=arm, out=folder / f"arm-{i}", seed=seed, machine=machine
        )
        assert data.rest is not None
        scores[arm] = balanced_scores(out / "weights.safetensors", data.rest, data.train.class_counts)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options of fit-generator")
    parser.add_argument("--draws", type=int, default=3)
    a = parser.parse_args()
    generator: dict = {}
    for text in a.options:
        key, value = text.split("=", 1)
        try:
            generator[key] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            generator[key] = value
    torch.set_num_threads(1)
    found = []
    for seed in range(100, 100 + a.draws):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_draw(seed, generator, Path(folder)))
        print(seed, {arm: round(float(s["recall"]), 3) for arm, s in found[-1].items()}, flush=True)
    print(f"\n{a.options}, mean and standard deviation of {a.draws} draws")
    for arm in ARMS:
        cells = [
            f"{key} {np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for key in found[0][arm] if (v := [f[arm][key] for f in found])
        ]
        print(f"{arm:38s} " + "   ".join(cells))


if __name__ == "__main__":
    main()
