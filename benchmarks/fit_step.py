"""A generator's training step, computed in every way there is: time in turns, as ratios to `--plain`, peak memory, MFU.

    python benchmarks/fit_step.py                                                 # digits (8x8), CBDM
    python benchmarks/fit_step.py --image-size 32 --batch-size 16 --rounds 5      # the papers' U-Net
    python benchmarks/fit_step.py --compile           # with torch.compile too (needs a C++ compiler, and minutes)
    python benchmarks/fit_step.py --threads 1 --clock cpu                         # on a machine that others use as well
    python benchmarks/fit_step.py --device cuda --image-size 32 --batch-size 128 --compile

Every way has a process of its own, as it would have in a fit; all take one step each in turns, round after round, so that a
machine that drifts drifts for all. Memory is the most that the process held (on CUDA: that torch allocated) less what it
held before its first step: Adam's moments, gradients and what is kept for the way back.

MFU is the operations of the step's matrix products and convolutions, forward and backward, over its time and over the rate of
a large matrix product of the same precision, measured on the idle device before the first step.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
import torch
from tables import add_json, show
from torch.utils.flop_counter import FlopCounterMode

from ltaug.data.imageset import ImageSet
from ltaug.fields import resolve
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch
from ltaug.generator.step import Gradients, prepare, train_step
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PLAIN = "--plain"


def ways(device: str, batch_size: int, *, compiled: bool) -> dict[str, Runtime]:
    """What is compared."""
    fp32, bf16 = Runtime(torch.device(device), None), Runtime(torch.device(device), torch.bfloat16)
    found = {
        PLAIN: dataclasses.replace(fp32, plain=True),
        "--precision fp32": fp32,
        "--precision bf16": bf16,
        "bf16, --checkpoint-activations": dataclasses.replace(bf16, checkpoint_activations=True),
        f"bf16, --micro-batch {batch_size // 4}": dataclasses.replace(bf16, micro_batch=batch_size // 4),
    }
    if compiled:
        found["fp32, --compile yes"] = dataclasses.replace(fp32, compiled=True)
        found["bf16, --compile yes"] = dataclasses.replace(bf16, compiled=True)
    return found


def noise_images(side: int, *, count: int = 256, classes: int = 10) -> ImageSet:
    """Random pixels; grey up to 16 pixels a side."""
    images = np.random.RandomState(0).randint(0, 256, (count, 1 if side <= 16 else 3, side, side), dtype=np.uint8)
    return ImageSet(images, np.arange(count) % classes, tuple(f"{c:04d}" for c in range(classes)), "noise")


def take_steps(connection, options: GeneratorOptions, runtime: Runtime, train: ImageSet, threads: int, clock: str) -> None:
    """Take a step whenever a number comes, and answer with (seconds, MB at most since the first)."""
    torch.set_num_threads(threads)
    if runtime.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    trainee = prepare(build_trainee(options, train, seed=0, device=runtime.device), options, runtime)
    data = TrainingData.on(runtime.device, train)
    trainee.denoiser.train()
    before = memory(runtime, peak=False)
    while (n := connection.recv()) is not None:
        began = CLOCKS[clock]()
        train_step(trainee, draw_batch(data, options, trainee.denoiser, step=n, seed=0), options, runtime, step=n)
        runtime.synchronize()
        connection.send((CLOCKS[clock]() - began, memory(runtime, peak=True) - before))


def memory(runtime: Runtime, *, peak: bool) -> float:
    """MB that this process holds, or held at most."""
    if runtime.device.type == "cuda":
        return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 1e6
    if not Path("/proc/self/status").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM" if peak else "VmRSS"].split()[0]) / 1e3


def operations(options: GeneratorOptions, train: ImageSet) -> float:
    """Of a step's matrix products and convolutions, both ways; counted on the CPU for two images and scaled up."""
    runtime = Runtime(torch.device("cpu"), None)
    two = dataclasses.replace(options, batch_size=2)
    trainee = build_trainee(two, train, seed=0, device=runtime.device)
    batch = draw_batch(TrainingData.on(runtime.device, train), two, trainee.denoiser, step=0, seed=0)
    with FlopCounterMode(display=False) as counter:
        Gradients(trainee, runtime).add(batch)
    return counter.get_total_flops() * options.batch_size / 2


def matrix_rate(device: str, dtype: torch.dtype, *, rounds: int = 10) -> float:
    """Operations a second of a large matrix product; the median of several."""
    n = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    runtime, seconds = Runtime(torch.device(device), None), []
    for _ in range(rounds + 3):
        runtime.synchronize()
        began = time.perf_counter()
        a @ b
        runtime.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * n**3 / float(np.median(seconds[3:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--image-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    for name in ("objective", "backbone"):
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS)
    for name in ("batch-size", "channels", "width"):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    add_json(parser)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    names = [f.name for f in dataclasses.fields(GeneratorOptions)]
    options = resolve(GeneratorOptions, {k: v for k, v in vars(a).items() if k in names}, image_side=a.image_size)
    train = noise_images(a.image_size)
    counted = operations(options, train)
    rates = {dtype: matrix_rate(a.device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    context, workers = multiprocessing.get_context("spawn"), {}
    compared = ways(a.device, options.batch_size, compiled=a.compile)
    for way, runtime in compared.items():
        workers[way], there = context.Pipe()
        arguments = (there, options, runtime, train, a.threads, a.clock)
        context.Process(target=take_steps, args=arguments, daemon=True).start()

    answers = {way: [] for way in workers}
    for n in range(a.rounds + 1):
        for way, worker in workers.items():
            worker.send(n)
            answers[way].append(worker.recv())
    for worker in workers.values():
        worker.send(None)
    plain = np.array([seconds for seconds, _ in answers[PLAIN][1:]])
    rows = []
    for way, found in answers.items():
        kept = np.array([seconds for seconds, _ in found[1:]])
        rate = rates[compared[way].amp_dtype or torch.float32]
        rows.append(
            {
                "way": way,
                "ms a step": float(np.median(kept) * 1e3),
                "x plain": float(np.median(plain / kept)),
                "MFU %": float(100 * counted / np.median(kept) / rate),
                "MB": round(found[-1][1]),
                "first step, s": found[0][0],
            }
        )
    print(
        f"{counted / 1e9:.1f} GFLOP a step; matrix products: "
        + ", ".join(f"{k} {v / 1e12:.3g} TFLOP/s" for k, v in rates.items())
    )
    size = f"{a.image_size}x{a.image_size}, batch {options.batch_size}, {options.backbone}"
    title = f"A step of {options.objective}, {size}: medians of {a.rounds} rounds ({a.clock} time) after a first step"
    show(title, rows, device=a.device, json_file=a.json)


if __name__ == "__main__":
    main()
