"""Images a second by sampler and steps, and how near few steps come to the full grid.

    python benchmarks/sampling.py RUN            # RUN: a finished fit-generator run
    python benchmarks/sampling.py RUN --images 512 --threads 2

The distance column is the root-mean-square difference in grey levels between a deterministic sampler's image and the same
image (same noise) by 500 steps of ddim, the reference for all of them; ancestral ddpm has its own noise, hence none.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ltaug.generator.generate import generate
from ltaug.generator.stage import Generator
from ltaug.runtime import make_runtime

GRIDS = [("ddpm", 1000), ("ddim", 100), ("ddim", 20), ("heun", 20), ("heun", 10), ("dpm++2m", 20), ("dpm++2m", 10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    runtime = make_runtime(threads=a.threads)
    loaded = Generator.load(a.run, runtime=runtime)
    keys = [(i % len(loaded.class_names), i) for i in range(a.images)]

    def images(sampler: str, steps: int) -> np.ndarray:
        return generate(
            loaded.denoiser,
            keys,
            image_shape=loaded.image_shape,
            seed=0,
            runtime=runtime,
            sampler=sampler,
            sample_steps=steps,
            guidance=a.guidance,
            batch_size=a.batch,
        ).astype(np.float64)

    reference = images("ddim", 500)
    print(f"{a.images} images {loaded.image_shape}, batches of {a.batch}, guidance {a.guidance}, {runtime.describe()}")
    print(f"{'sampler':10s} {'steps':>5s} {'images/s':>10s} {'distance':>9s}")
    for sampler, steps in GRIDS:
        seconds = []
        for _ in range(1 if steps == 1000 else a.repeats):
            began = time.perf_counter()
            made = images(sampler, steps)
            seconds.append(time.perf_counter() - began)
        distance = "" if sampler == "ddpm" else f"{np.sqrt(((made - reference) ** 2).mean()):9.2f}"
        print(f"{sampler:10s} {steps:5d} {a.images / np.median(seconds):10.1f} {distance}")


if __name__ == "__main__":
    main()
