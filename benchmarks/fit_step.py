"""A generator's training step, computed in every way there is: time in turns, as ratios to `--plain`, and peak memory.

    python benchmarks/fit_step.py                                                 # digits (8x8), CBDM
    python benchmarks/fit_step.py --image-size 32 --batch-size 16 --rounds 5      # the papers' U-Net
    python benchmarks/fit_step.py --compile           # with torch.compile too (needs a C++ compiler, and minutes)
    python benchmarks/fit_step.py --threads 1 --clock cpu                         # on a machine that others use as well

Every way has a process of its own, as it would have in a fit; all take one step each in turns, round after round, so that a
machine that drifts drifts for all. Memory is the most that the process held (on CUDA: that torch allocated) less what it
held before its first step: Adam's moments, gradients and what is kept for the way back.
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

from ltaug.data.imageset import ImageSet
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch
from ltaug.generator.step import prepare, train_step
from ltaug.options import GeneratorOptions, resolve
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


def take_steps(connection, options: GeneratorOptions, runtime: Runtime, side: int, threads: int, clock: str) -> None:
    """Take a step whenever a number comes, and answer with (seconds, MB at most since the first)."""
    torch.set_num_threads(threads)
    colours = 1 if side <= 16 else 3
    images = np.random.RandomState(0).randint(0, 256, (256, colours, side, side)).astype(np.uint8)
    train = ImageSet(images, np.arange(256) % 10, tuple("0123456789"), "noise")
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
    a = parser.parse_args()
    names = [f.name for f in dataclasses.fields(GeneratorOptions)]
    options = resolve(GeneratorOptions, {k: v for k, v in vars(a).items() if k in names}, image_side=a.image_size)
    context, workers = multiprocessing.get_context("spawn"), {}
    for way, runtime in ways(a.device, options.batch_size, compiled=a.compile).items():
        workers[way], there = context.Pipe()
        arguments = (there, options, runtime, a.image_size, a.threads, a.clock)
        context.Process(target=take_steps, args=arguments, daemon=True).start()

    size = f"{a.image_size}x{a.image_size}, batch {options.batch_size}, {options.backbone}, {a.threads} threads"
    print(f"{options.objective}, {size}; torch {torch.__version__}")
    answers = {way: [] for way in workers}
    for n in range(a.rounds + 1):
        for way, worker in workers.items():
            worker.send(n)
            answers[way].append(worker.recv())
    for worker in workers.values():
        worker.send(None)
    print(f"medians of {a.rounds} rounds ({a.clock} time) after a first step")
    plain = np.array([seconds for seconds, _ in answers[PLAIN][1:]])
    for way, found in answers.items():
        kept = np.array([seconds for seconds, _ in found[1:]])
        ratio = f"{np.median(plain / kept):5.2f} x plain"
        print(f"  {way:32s} {np.median(kept) * 1e3:9.1f} ms   {ratio}   {found[-1][1]:6.0f} MB   first step {found[0][0]:6.1f} s")


if __name__ == "__main__":
    main()
