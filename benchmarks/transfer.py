"""What a published generator brings: a small DiT fitted to digits 5-9, exported, tuned to a long-tailed draw of digits 0-4.

    python benchmarks/transfer.py --out runs/transfer            # 25 processor minutes

Of digits 0-4 there are 100, 46, 21, 10 and 5 images; 50 of each class are left for the reference. The same network from random
weights takes as many steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

COUNTS = (100, 46, 21, 10, 5)
SHARED = "--no-flip --batch-size 64 --threads 1 -q"
BASE = f"--objective ddpm --tune full --steps 3000 --lr 1e-3 --warmup 100 --ema 0.995 --checkpoint-every 3000 {SHARED}"
TUNED = f"--objective cbdm --label-set bal --steps 600 --warmup 50 --ema 0.99 --checkpoint-every 600 {SHARED}"
WAYS = {"difffit": "pipe difffit 3e-3", "lora": "pipe lora:8 3e-3", "full": "pipe full 1e-3", "scratch": "random full 1e-3"}
SHOWN = ("fid", "fid/few", "precision", "recall", "coverage", "consistency", "memorised_1")


def digits(out: Path) -> None:
    """Class folders of PNG: high (5-9) and low (0-4, long-tailed), each with a test split."""
    found, rng = load_digits(), np.random.RandomState(0)
    for c in range(10):
        index = np.flatnonzero(found.target == c)
        rng.shuffle(index)
        train = index[:-50] if c > 4 else index[:-50][: COUNTS[c]]
        for split, rows in (("train", train), ("test", index[-50:])):
            folder = out / ("high" if c > 4 else "low") / split / str(c)
            folder.mkdir(parents=True, exist_ok=True)
            for i in rows:
                Image.fromarray((found.images[i] * 255 / 16).round().astype(np.uint8)).save(folder / f"{i}.png")


def random_dit(folder: Path) -> None:
    """A pipeline of 4 blocks of width 64, as an untrained DiT begins: the same embedder in all blocks, the last layer zero."""
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 4, "sample_size": 8, "patch_size": 2}
    shape = {"in_channels": 1, "out_channels": 1, "num_embeds_ada_norm": 5, "attention_bias": True}
    model = diffusers.DiTTransformer2DModel(**sizes, **shape)
    for block in model.transformer_blocks:
        block.norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
        for layer in (block.norm1.linear, model.proj_out_2):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    model.save_pretrained(folder / "transformer")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    parts = {"transformer": ["diffusers", "DiTTransformer2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline"} | parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out

    def ltaug(words: str) -> None:
        subprocess.run([sys.executable, "-m", "ltaug", *words.split()], cwd=out, check=True)

    if not (out / "low").is_dir():
        digits(out)
        random_dit(out / "random")
    ltaug(f"fit-generator --dataset folder:high --pretrained random {BASE} --out base")
    ltaug("export base --to diffusers --out pipe")
    looking = ""
    for name, way in WAYS.items():
        pipeline, tune, lr = way.split()
        ltaug(f"fit-generator --dataset folder:low --pretrained {pipeline} --tune {tune} --lr {lr} {TUNED} --out t-{name}")
        ltaug(f"evaluate-generator t-{name} --reference test --samples 500 --threads 1 -q {looking} --out e-{name}")
        looking = "--extractor classifier:e-difffit.extractor"
    print("| weights |", " | ".join(SHOWN), "|\n|---|" + "--:|" * len(SHOWN))
    for name in WAYS:
        summary = json.loads((out / f"e-{name}" / "metrics.json").read_text())["summary"]
        print(f"| {name} |", " | ".join(f"{summary[key]:.3g}" for key in SHOWN), "|")


if __name__ == "__main__":
    main()
