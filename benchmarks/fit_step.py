"""What makes a generator's training step fast: each choice against the plain step, in turns, as ratios.

    python benchmarks/fit_step.py                     # digits (8x8), CBDM, the defaults for small images
    python benchmarks/fit_step.py --compile           # and torch.compile (needs a C++ compiler; minutes of warm-up)
    python benchmarks/fit_step.py --image-size 32 --batch-size 16 --channels 128 --mults 1,2,2,2 --blocks 2 --attention 16

Plain is eager float32 with the two conditionings of CBDM in two passes, Adam as a loop and the average as a loop. Every
variant is built once; then all take one step each, round after round, so that a machine that drifts drifts for all.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch
from torch import nn

from ltaug.data.imageset import ImageSet
from ltaug.generator.denoiser import Denoised, Denoiser
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch, train_step
from ltaug.options import GeneratorOptions, resolve
from ltaug.runtime import Runtime


class TwoPasses(Denoiser):
    """A denoiser that takes a concatenated batch apart again and makes one pass for each conditioning."""

    def __init__(self, denoiser: Denoiser, batch_size: int) -> None:
        nn.Module.__init__(self)
        self.inner, self.batch_size = denoiser, batch_size
        self.preconditioning, self.null_label = denoiser.preconditioning, denoiser.null_label

    def forward(self, *given):
        parts = [self.inner(*p) for p in zip(*(v.split(self.batch_size) for v in given), strict=True)]
        return Denoised(*(torch.cat([getattr(p, f) for p in parts]) for f in ("x0", "eps", "features")))


class LoopEMA:
    """The average as a Python loop over tensors."""

    def __init__(self, ema) -> None:
        self.ema = ema
        self.module = ema.module

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.ema.decay, (1 + step) / (10 + step))
        for a, p in zip(self.ema._averaged, self.ema._current, strict=True):
            a.mul_(decay).add_(p, alpha=1 - decay)


def variant(train, options, *, one_pass=True, fused=True, bf16=False, compiled=False, contiguous=False):
    """A function that takes one step of this variant."""
    runtime = Runtime(torch.device("cpu"), torch.bfloat16 if bf16 else None)
    trainee = build_trainee(options, train, seed=0, device=runtime.device)
    denoiser = trainee.denoiser
    if contiguous:
        denoiser.to(memory_format=torch.contiguous_format)
    if compiled:
        denoiser.backbone.compile()
    if not one_pass:
        trainee = dataclasses.replace(trainee, denoiser=TwoPasses(denoiser, options.batch_size))
    if not fused:
        optimizer = torch.optim.Adam(denoiser.parameters(), lr=options.lr, foreach=False, fused=False)
        trainee = dataclasses.replace(trainee, optimizer=optimizer, ema=LoopEMA(trainee.ema))
    data = TrainingData.on(runtime.device, train)

    def step(n: int) -> None:
        train_step(trainee, draw_batch(data, options, denoiser, step=n, seed=0), options, runtime, step=n)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    for name in ("batch-size", "channels", "blocks"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("mults", "attention"):
        parser.add_argument(f"--{name}", type=lambda t: tuple(int(v) for v in t.split(",")))
    a = parser.parse_args()
    given = {
        "batch_size": a.batch_size,
        "channels": a.channels,
        "blocks": a.blocks,
        "channel_mults": a.mults,
        "attention": a.attention,
    }
    options = resolve(GeneratorOptions, {k: v for k, v in given.items() if v is not None}, image_side=a.image_size)
    colours = 1 if a.image_size <= 16 else 3
    images = np.random.RandomState(0).randint(0, 256, (256, colours, a.image_size, a.image_size)).astype(np.uint8)
    train = ImageSet(images, np.arange(256) % 10, tuple("0123456789"), "noise")

    variants = {
        "plain (fp32, two passes, loops)": {"one_pass": False, "fused": False, "contiguous": True},
        "+ one fused pass": {"fused": False, "contiguous": True},
        "+ fused Adam, foreach average": {"contiguous": True},
        "+ channels_last (the default on the CPU)": {},
        "+ bf16 autocast": {"bf16": True},
    }
    if a.compile:
        variants |= {"default + torch.compile": {"compiled": True}, "bf16 + torch.compile": {"bf16": True, "compiled": True}}
    steps = {name: variant(train, options, **kwargs) for name, kwargs in variants.items()}
    size = f"{a.image_size}x{a.image_size}, batch {options.batch_size}, {options.channels} channels"
    print(f"{options.objective}, {size}; torch {torch.__version__}")
    for threads in a.threads:
        torch.set_num_threads(threads)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for n in range(a.rounds + 2):
            for name, step in steps.items():
                began = time.perf_counter()
                step(n)
                seconds[name].append(time.perf_counter() - began)
        print(f"\n{threads} thread(s), medians of {a.rounds} rounds")
        plain = np.array(seconds["plain (fp32, two passes, loops)"][2:])
        for name, found in seconds.items():
            kept = np.array(found[2:])
            print(f"  {name:42s} {np.median(kept) * 1e3:8.1f} ms   {np.median(plain / kept):5.2f} x plain")


if __name__ == "__main__":
    main()
