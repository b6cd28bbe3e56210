"""Classifiers from published weights against classifiers from random ones, on long-tailed draws of digits.

    python benchmarks/pretrained.py --out runs/pretrained --seeds 3

Nothing is downloaded: timm's test_resnet is trained on the digits 5 to 9 first, and these are its published weights. The
classifiers are of the digits 0 to 4. Arms share draws and test images, so differences are paired. Interrupted, the same command
goes on.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from tables import add_json, show
from torch import Tensor

import ltaug
from ltaug.files import read_json
from ltaug.machine import Machine

MODEL, SIDE = "test_resnet", 32
DRAW = {"image_size": SIDE, "imbalance": 20, "test_per_class": 80}
ARMS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "scratch, 1,000 steps of 32": {"steps": 1000, "batch_size": 32},
    "published, options of scratch": {"pretrained": True},
    "finetune": {"pretrained": True, "preset": "finetune"},
    "probe": {"pretrained": True, "preset": "probe"},
}


def images_of(*digits: int) -> tuple[Tensor, Tensor]:
    """uint8 (N, 8, 8) and their digits (N,)."""
    found = load_digits()
    images, labels = torch.from_numpy(found.images / 16 * 255).round().to(torch.uint8), torch.from_numpy(found.target)
    chosen = torch.isin(labels, torch.tensor(digits))
    return images[chosen], labels[chosen]


def publish(path: Path, *, steps: int) -> None:
    """Train the network on digits 5 to 9, with the normalisation that timm has for it, and save it as timm's files are."""
    torch.manual_seed(0)
    images, labels = images_of(5, 6, 7, 8, 9)
    network = timm.create_model(MODEL, num_classes=5).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(network.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    x = F.interpolate(images[:, None] / 255, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (64,))
        down, right = torch.randint(-4, 5, (2,)).tolist()
        moved = x[chosen].roll((down, right), (2, 3)).expand(-1, 3, -1, -1)
        optimizer.zero_grad()
        F.cross_entropy(network((moved - mean) / std), labels[chosen] - 5).backward()
        optimizer.step()
        schedule.step()
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)


def write_folders(folder: Path) -> None:
    """Digits 0 to 4 as class folders of PNG."""
    for number, (image, label) in enumerate(zip(*images_of(0, 1, 2, 3, 4), strict=True)):
        path = folder / str(int(label)) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.numpy()).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--head", type=int, default=40, help="images of the largest class")
    parser.add_argument("--loss", default="logit-adjusted")
    parser.add_argument("--augment", default="shift-rotate", help="of all arms but probe")
    parser.add_argument("--tiny", action="store_true", help="at a size that shows only that it works")
    add_json(parser)
    a = parser.parse_args()
    weights, folder = a.out / "published.safetensors", a.out / "digits"
    if not weights.exists():
        write_folders(folder)
        publish(weights, steps=5 if a.tiny else 400)
    rows, macro = [], dict[str, list[float]]()
    for number, (name, own) in enumerate(ARMS.items()):
        given = {"model": MODEL, "loss": a.loss, **own} | ({"steps": 3} if a.tiny else {})
        given |= {"augment": a.augment} if own.get("preset") != "probe" else {}
        given |= {"pretrained": str(weights)} if "pretrained" in own else {}
        seconds = []
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            out = a.out / f"{a.loss}-{a.head}" / f"{number}" / f"seed-{seed}"
            dataset = {"dataset": f"folder:{folder}", "head": a.head, **DRAW}
            ltaug.train_classifier(dataset, given, out=out, seed=seed, machine=Machine(device="cpu", threads=1))
            macro.setdefault(name, []).append(read_json(out / "metrics.json")["summary"]["macro_recall"])
            timings = read_json(out / "run.json")["timings"]
            seconds.append(timings["warm-up"] + timings["fit"])
        gained = [mine - theirs for mine, theirs in zip(macro[name], macro["scratch"], strict=True)]
        spread = {"+-": statistics.stdev(gained)} if a.seeds > 1 else {}
        mean = {"macro recall": statistics.mean(macro[name]), "against scratch": statistics.mean(gained)}
        each = {f"seed {seed}": value for seed, value in enumerate(macro[name], a.first_seed)}
        rows.append({"arm": name, **mean, **spread, **each, "seconds": statistics.mean(seconds)})
    show(f"Digits 0 to 4, the largest class {a.head}, with weights of 5 to 9, {a.loss}", rows, device="cpu", json_file=a.json)


if __name__ == "__main__":
    main()
