"""Images a second by sampler, steps and guidance: against the published way, and how near few steps come to the full grid.

    python benchmarks/sampling.py                # the paper's U-Net at 32x32, untrained: speed does not depend on weights
    python benchmarks/sampling.py --image-size 8 --batch 256
    python benchmarks/sampling.py RUN            # RUN: a finished fit-generator run; then distances too
    python benchmarks/sampling.py RUN --guidance 1.5 --interval 0.2,0.7 --threads 2
    python benchmarks/sampling.py --batches 8,32,64    # images a second against images a batch; on CUDA --compile as well

The first table is guided sampling against the published way: 1,000 ancestral steps in float32, a pass of the network for each
branch of guidance, default memory layout; fp32 and bf16 are --precision of `ltaug synthesize`. What a step can consist of is
timed in turns, one call each, round after round, so that a machine that drifts drifts for all; a way to sample is the sum over
its steps. The table by sampler and steps times whole runs.

The distance column of that table is the root-mean-square difference in grey levels between a deterministic sampler's
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
from tables import add_json, show
from torch import nn

from ltaug.fields import resolve
from ltaug.generator.cpu_forms import suit
from ltaug.generator.denoiser import Denoised, Denoiser
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import Generator, ImageNoise, generate
from ltaug.generator.sampling import Sampling, bind, guides
from ltaug.options import EVERYWHERE, GeneratorOptions
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
    rows = [
        {"way": name, "images/s": a.batch / float(np.median(found)), "x published": float(np.median(published / found))}
        for name, found in ways.items()
    ]
    title = f"Guided sampling of {shape}, {a.batch} images a batch, medians of {a.rounds} rounds"
    show(title, rows, device=runtime.device.type, json_file=a.json)


def against_batch(denoiser: Denoiser, shape: tuple[int, int, int], runtime: Runtime, a: argparse.Namespace) -> None:
    """Images a second of whole guided runs of dpm++2m, compiled as well where --compile, by images a batch."""
    rows = []
    for compiled in (False, True) if a.compile else (False,):
        way = dataclasses.replace(runtime, amp_dtype=None if a.precision == "fp32" else torch.bfloat16, compiled=compiled)
        for batch in a.batches:
            network = copy.deepcopy(denoiser)
            suit(network.backbone, way)
            keys, seconds = [(0, i) for i in range(batch)], []
            for _ in range(1 + a.repeats):  # the first warms up
                began = time.perf_counter()
                generate(
                    network,
                    keys,
                    image_shape=shape,
                    seed=0,
                    runtime=way,
                    sampling=Sampling(guidance=a.guidance or 1.5),
                    batch_size=batch,
                )
                seconds.append(time.perf_counter() - began)
            rate = batch / float(np.median(seconds[1:]))
            how = f"{a.precision}{', compiled' if compiled else ''}"
            minutes = 50_000 / rate / 60
            rows.append({"way": how, "batch": batch, "images/s": rate, "minutes for 50,000": minutes, "first, s": seconds[0]})
    title = f"dpm++2m, 20 steps, guided, {shape}: medians of {a.repeats}"
    show(title, rows, device=runtime.device.type, json_file=a.json)


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
            sampling=Sampling(sampler=sampler, steps=steps, guidance=a.guidance, interval=a.interval if a.limit else EVERYWHERE),
            batch_size=a.batch,
        ).astype(np.float64)

    reference = images("ddim", 500)
    where = f" at t/T {a.interval}" if a.limit else ""
    rows = []
    for sampler, steps in GRIDS:
        seconds = []
        for _ in range(1 if steps == 1000 else a.repeats):
            began = time.perf_counter()
            made = images(sampler, steps)
            seconds.append(time.perf_counter() - began)
        distance = None if sampler == "ddpm" else float(np.sqrt(((made - reference) ** 2).mean()))
        rate = a.images / float(np.median(seconds))
        rows.append({"sampler": sampler, "steps": steps, "images/s": rate, "distance": distance})
    title = f"{a.images} images {loaded.image_shape}, batches of {a.batch}, guidance {a.guidance}{where}"
    show(title, rows, device=runtime.device.type, json_file=a.json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--image-size", type=int, default=32, help="of the untrained network, where no RUN is given")
    parser.add_argument("--images", type=int, default=256, help="of the table by sampler and steps")
    parser.add_argument("--batch", type=int, help="[default: 16; with RUN 256]")
    parser.add_argument("--guidance", type=float, default=0.0, help="the tables of untrained networks have 1.5 where this is 0")
    parser.add_argument("--interval", type=lambda text: tuple(float(t) for t in text.split(",")))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=3, help="of the table by sampler and steps")
    parser.add_argument("--rounds", type=int, default=15, help="of the table against the published way")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default=[], metavar="LIST")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"], help="of the table by batch")
    parser.add_argument("--compile", action="store_true", help="compiled too in the table by batch")
    add_json(parser)
    a = parser.parse_args()
    a.limit, a.interval = a.interval is not None, a.interval or (0.2, 0.7)
    a.batch = a.batch or (16 if a.run is None else 256)
    runtime = make_runtime(a.device, threads=a.threads)
    if a.run is not None:
        loaded = Generator.load(a.run, runtime=runtime)
        against_published(loaded.denoiser, loaded.image_shape, runtime, a)
        against_full_grid(loaded, runtime, a)
        return
    options = resolve(GeneratorOptions, {}, image_side=a.image_size)
    shape = (1 if a.image_size <= 16 else 3, a.image_size, a.image_size)
    denoiser = build_denoiser(options, image_shape=shape, num_classes=100).to(runtime.device).eval().requires_grad_(False)
    denoiser.to(memory_format=torch.channels_last)
    against_batch(denoiser, shape, runtime, a) if a.batches else against_published(denoiser, shape, runtime, a)


if __name__ == "__main__":
    main()
