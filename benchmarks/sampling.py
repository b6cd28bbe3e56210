"""Images a second by sampler, steps and guidance: against the published way, and how near few steps come to the full grid.

    python benchmarks/sampling.py                # the paper's U-Net at 32x32, untrained: speed does not depend on weights
    python benchmarks/sampling.py --image-size 8 --batch 256
    python benchmarks/sampling.py RUN            # RUN: a finished fit-generator run; then distances too
    python benchmarks/sampling.py RUN --guidance 1.5 --interval 0.2,0.7 --threads 2

The first table is guided sampling against the published way: 1,000 ancestral steps in float32, a pass of the network for each
branch of guidance, default memory layout; fp32 and bf16 are --precision of `ltaug synthesize`. What a step can consist of is
timed in turns, one call each, round after round, so that a machine that drifts drifts for all; a way to sample is the sum over
its steps. The second table times whole runs.

The distance column of the second table is the root-mean-square difference in grey levels between a deterministic sampler's
image and the same image (same noise) by 500 steps of ddim, the reference for all of them; ancestral ddpm has its own noise,
hence none.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ltaug.generator.cpu_forms import suit
from ltaug.generator.denoiser import Denoised, Denoiser
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import ImageNoise, generate
from ltaug.generator.guidance import bind, guides
from ltaug.generator.stage import Generator
from ltaug.options import EVERYWHERE, GeneratorOptions, resolve
from ltaug.runtime import Runtime, make_runtime

GRIDS = [("ddpm", 1000), ("ddim", 100), ("ddim", 20), ("heun", 20), ("heun", 10), ("dpm++2m", 20), ("dpm++2m", 10)]


class TwoPasses(nn.Module):
    """The denoiser with the two branches of guidance in a pass each, in the default memory layout."""

    def __init__(self, denoiser: Denoiser, batch: int) -> None:
        super().__init__()
        self.inner = copy.deepcopy(denoiser).to(memory_format=torch.contiguous_format)
        self.batch, self.preconditioning, self.null_label = batch, denoiser.preconditioning, denoiser.null_label

    def forward(self, *given):
        parts = [self.inner(*p) for p in zip(*(v.split(self.batch) for v in given), strict=True)]
        return Denoised(*(torch.cat([getattr(p, f) for p in parts]) for f in ("x0", "eps", "features")))


@torch.inference_mode()
def against_published(denoiser: Denoiser, shape: tuple[int, int, int], runtime: Runtime, a: argparse.Namespace) -> None:
    """Images a second of each way to sample with guidance, and the ratio to the published one."""
    labels = torch.zeros(a.batch, dtype=torch.int64, device=runtime.device)
    noise = ImageNoise([(0, i) for i in range(a.batch)], seed=0, image_shape=shape, device=runtime.device)
    x, w = noise(), a.guidance or 1.5
    fp32 = dataclasses.replace(runtime, amp_dtype=None)
    parts = {("published", "two passes"): (bind(TwoPasses(denoiser, a.batch), labels, guidance=w), fp32)}
    for precision, way in {"fp32": fp32, "bf16": dataclasses.replace(fp32, amp_dtype=torch.bfloat16)}.items():
        network = copy.deepcopy(denoiser)
        suit(network.backbone, way)
        parts[precision, "one pass"] = bind(network, labels, guidance=w), way
        parts[precision, "conditional"] = bind(network, labels, guidance=0.0), way
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in [*parts, ("any", "noise")]}
    for n in range(a.rounds + 2):
        for name in seconds:
            began = time.perf_counter()
            if name in parts:
                denoise, way = parts[name]
                with way.autocast():
                    denoise(x, 1.0)
            else:
                noise()
            runtime.synchronize()
            if n >= 2:  # the first rounds warm up
                seconds[name].append(time.perf_counter() - began)
    took = {name: np.array(found) for name, found in seconds.items()}
    levels = denoiser.preconditioning.grid(20)[:-1].tolist()
    on = sum(guides(denoiser.preconditioning, sigma, a.interval) for sigma in levels)
    noised = took["any", "noise"]
    published = 1000 * (took["published", "two passes"] + noised)
    ways = {
        "1,000 ancestral steps, two passes, fp32 (the published way)": published,
        "1,000 ancestral steps, one pass, fp32": 1000 * (took["fp32", "one pass"] + noised),
        "dpm++2m 20 steps, two passes, fp32": 20 * took["published", "two passes"],
    }
    for precision in ("fp32", "bf16"):
        guided, alone = took[precision, "one pass"], took[precision, "conditional"]
        ways[f"dpm++2m 20 steps, one pass, {precision}"] = 20 * guided
        limited = f"dpm++2m 20 steps, {on} guided (t/T {a.interval[0]:g} to {a.interval[1]:g}), {precision}"
        ways[limited] = on * guided + (20 - on) * alone
        ways[f"dpm++2m 20 steps, unguided, {precision}"] = 20 * alone
    device = fp32.describe()
    print(f"{shape}, {a.batch} images a batch, {device['name']}, {device['threads']} threads; torch {torch.__version__}")
    print(f"medians of {a.rounds} rounds")
    for name, found in ways.items():
        print(f"  {name:60s} {a.batch / np.median(found):10.3f} images/s {np.median(published / found):7.1f} x published")
    print()


def against_full_grid(loaded: Generator, runtime: Runtime, a: argparse.Namespace) -> None:
    """Images a second, and the distance from many steps, by sampler and steps."""
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
            guidance_interval=a.interval if a.limit else EVERYWHERE,
            batch_size=a.batch,
        ).astype(np.float64)

    reference = images("ddim", 500)
    where = f" at t/T {a.interval}" if a.limit else ""
    print(f"{a.images} images {loaded.image_shape}, batches of {a.batch}, guidance {a.guidance}{where}, {runtime.describe()}")
    print(f"{'sampler':10s} {'steps':>5s} {'images/s':>10s} {'distance':>9s}")
    for sampler, steps in GRIDS:
        seconds = []
        for _ in range(1 if steps == 1000 else a.repeats):
            began = time.perf_counter()
            made = images(sampler, steps)
            seconds.append(time.perf_counter() - began)
        distance = "" if sampler == "ddpm" else f"{np.sqrt(((made - reference) ** 2).mean()):9.2f}"
        print(f"{sampler:10s} {steps:5d} {a.images / np.median(seconds):10.1f} {distance}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--image-size", type=int, default=32, help="of the untrained network, where no RUN is given")
    parser.add_argument("--images", type=int, default=256, help="of the second table")
    parser.add_argument("--batch", type=int, help="[default: 16; with RUN 256]")
    parser.add_argument("--guidance", type=float, default=0.0, help="of the second table; the first has 1.5 where this is 0")
    parser.add_argument("--interval", type=lambda text: tuple(float(t) for t in text.split(",")))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=3, help="of the second table")
    parser.add_argument("--rounds", type=int, default=15, help="of the first table")
    a = parser.parse_args()
    a.limit, a.interval = a.interval is not None, a.interval or (0.2, 0.7)
    a.batch = a.batch or (16 if a.run is None else 256)
    runtime = make_runtime(threads=a.threads)
    if a.run is not None:
        loaded = Generator.load(a.run, runtime=runtime)
        against_published(loaded.denoiser, loaded.image_shape, runtime, a)
        against_full_grid(loaded, runtime, a)
        return
    options = resolve(GeneratorOptions, {}, image_side=a.image_size)
    shape = (1 if a.image_size <= 16 else 3, a.image_size, a.image_size)
    denoiser = build_denoiser(options, image_shape=shape, num_classes=100).to(runtime.device).eval().requires_grad_(False)
    against_published(denoiser.to(memory_format=torch.channels_last), shape, runtime, a)


if __name__ == "__main__":
    main()
