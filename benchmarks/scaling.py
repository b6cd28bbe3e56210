"""How a generator's training step grows with image size, with classes and with the set: time and memory, each in a process.

    python benchmarks/scaling.py                                   # CPU: a small U-Net
    python benchmarks/scaling.py --device cuda --channels 128 --blocks 2 --batch-size 64 --sides 32,64,128

One thing changes at a time, from the first image size, 10 classes and 1,000 images. Attention stays at 16 pixels a side, as in
the papers' network. Memory is what the process held at most (on CUDA: what torch allocated), weights and set included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import numpy as np
from fit_step import memory, noise_images
from tables import add_json, show

from ltaug.fields import resolve
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch
from ltaug.generator.step import prepare, train_step
from ltaug.machine import Machine
from ltaug.options import GeneratorOptions
from ltaug.runtime import for_fit, make_runtime


def measure(connection, given: dict, side: int, classes: int, count: int, a: argparse.Namespace) -> None:
    """Send seconds a step (median after two that warm up), and MB at most."""
    runtime = make_runtime(a.device, threads=a.threads)
    runtime = for_fit(runtime, Machine(compile="no"), image_side=side, steps=a.rounds)
    options = resolve(GeneratorOptions, given, image_side=side)
    train = noise_images(side, count=count, classes=classes)
    trainee = prepare(build_trainee(options, train, seed=0, device=runtime.device), options, runtime)
    data = TrainingData.on(runtime.device, train)
    trainee.denoiser.train()
    seconds = []
    for n in range(a.rounds + 2):
        began = time.perf_counter()
        train_step(trainee, draw_batch(data, options, trainee.denoiser, step=n, seed=0), options, runtime, step=n)
        runtime.synchronize()
        seconds.append(time.perf_counter() - began)
    parameters = sum(p.numel() for p in trainee.denoiser.parameters())
    connection.send((float(np.median(seconds[2:])), memory(runtime, peak=True), parameters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"type": lambda text: [int(n) for n in text.split(",")], "metavar": "LIST"}
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--sides", default=[32, 48, 64], **numbers)
    parser.add_argument("--classes", default=[10, 100, 1000], **numbers)
    parser.add_argument("--counts", default=[1000, 10_000, 100_000], **numbers)
    add_json(parser)
    a = parser.parse_args()
    given = {"channels": a.channels, "blocks": a.blocks, "batch_size": a.batch_size}
    side, classes, count = a.sides[0], a.classes[0], a.counts[0]
    cases = [(s, classes, count) for s in a.sides]
    cases += [(side, k, max(count, k)) for k in a.classes[1:]] + [(side, classes, n) for n in a.counts[1:]]
    context, rows = multiprocessing.get_context("spawn"), []
    for case in cases:
        here, there = context.Pipe()
        process = context.Process(target=measure, args=(there, given, *case, a))
        process.start()
        seconds, most, parameters = here.recv()
        process.join()
        rows.append(
            dict(zip(("pixels a side", "classes", "images"), case, strict=True))
            | {"ms a step": 1e3 * seconds, "x first": seconds / rows[0]["ms a step"] * 1e3 if rows else 1.0}
            | {"MB": round(most), "parameters": parameters}
        )
    title = f"A step of cbdm by size: U-Net of {a.channels} channels, batch {a.batch_size}, medians of {a.rounds}"
    show(title, rows, device=a.device, json_file=a.json)


if __name__ == "__main__":
    main()
