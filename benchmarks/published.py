"""Tuning and sampling a published network, with random weights of its size: a CBDM step, encoding, guided images.

    python benchmarks/published.py --device cuda --out gpu/published             # DiT-XL/2 and its autoencoder at 224 pixels
    python benchmarks/published.py --tiny --out /tmp/try                         # the whole script in a minute on a CPU

Needs diffusers. The weights, 3.3 GB, are written to OUT/pipeline first. MFU as in fit_step.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import diffusers
import torch
from fit_step import matrix_rate, memory, noise_images
from photo_costs import VAE, XL
from tables import add_json, show
from torch.utils.flop_counter import FlopCounterMode

from ltaug.fields import resolve
from ltaug.generator.finding import find_pipeline
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch
from ltaug.generator.generate import generate
from ltaug.generator.sampling import Sampling
from ltaug.generator.step import Gradients, prepare, train_step
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime

SMALL = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2}
SMALL_VAE = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}


def seconds(runtime: Runtime, run, *, rounds: int) -> float:
    """The median of several, after two that warm up."""
    found = []
    for _ in range(rounds + 2):
        runtime.synchronize()
        began = time.perf_counter()
        run()
        runtime.synchronize()
        found.append(time.perf_counter() - began)
    return sorted(found[2:])[rounds // 2]


def operations(options: GeneratorOptions, train, pipeline) -> float:
    """Of a step, both ways; counted for one image."""
    one = dataclasses.replace(options, batch_size=1)
    cpu = Runtime(torch.device("cpu"), None)
    trainee = build_trainee(one, train, seed=0, device=cpu.device, pipeline=pipeline)
    data = TrainingData.on(cpu.device, train, space=trainee.denoiser.space, mirror=one.flip)
    batch = draw_batch(data, one, trainee.denoiser, step=0, seed=0)
    with FlopCounterMode(display=False) as counter:
        Gradients(trainee, cpu).add(batch)
    return float(counter.get_total_flops()) * options.batch_size


def step(options: GeneratorOptions, train, pipeline, runtime: Runtime, *, rate: float, rounds: int):
    """A row of the table, and the network."""
    if runtime.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainee = prepare(build_trainee(options, train, seed=0, device=runtime.device, pipeline=pipeline), options, runtime)
    data = TrainingData.on(runtime.device, train, space=trainee.denoiser.space, mirror=options.flip)
    batch = draw_batch(data, options, trainee.denoiser.train(), step=0, seed=0)
    took = seconds(runtime, lambda: train_step(trainee, batch, options, runtime, step=0), rounds=rounds)
    share = operations(options, train, pipeline) / took / rate
    row = {"--tune": options.tune, "batch": options.batch_size, "s a step": f"{took:.3f}"}
    row |= {"images/s": f"{options.batch_size / took:.1f}", "MB": f"{memory(runtime, peak=True):,.0f}", "MFU": f"{share:.0%}"}
    return row, trainee.denoiser.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tiny", action="store_true")
    add_json(parser)
    a = parser.parse_args()
    side, rounds, batches, images = (32, 1, (2,), 2) if a.tiny else (a.side, a.rounds, (32, 128), 64)
    runtime = Runtime(torch.device(a.device), torch.bfloat16 if a.device == "cuda" else None)
    if not (a.out / "pipeline").is_dir():
        diffusers.DiTTransformer2DModel(**XL | (SMALL if a.tiny else {})).save_pretrained(a.out / "pipeline" / "transformer")
        diffusers.AutoencoderKL(**VAE | (SMALL_VAE if a.tiny else {})).save_pretrained(a.out / "pipeline" / "vae")
        diffusers.DDPMScheduler().save_pretrained(a.out / "pipeline" / "scheduler")
    pipeline = find_pipeline(str(a.out / "pipeline"), download=False, tell=print)
    train, rate, rows = (
        noise_images(side, count=20 if a.tiny else 256),
        matrix_rate(a.device, runtime.amp_dtype or torch.float32),
        [],
    )
    for how in ("difffit", "lora:16", "full"):
        for batch_size in batches:
            given = {"pretrained": pipeline.name, "tune": how, "batch_size": batch_size}
            options = resolve(GeneratorOptions, given, image_side=side)
            row, denoiser = step(options, train, pipeline, runtime, rate=rate, rounds=rounds)
            rows.append(row)
    show("a CBDM step of a published network", rows, device=a.device, json_file=a.json)
    space = denoiser.space
    x = torch.from_numpy(train.images[:images].copy()).to(runtime.device)
    encoding = seconds(runtime, lambda: space.encode(x), rounds=rounds)
    keys = [(i % 10, i) for i in range(images)]
    how = {"image_shape": train.image_shape, "seed": 0, "runtime": runtime, "batch_size": images}
    sampling = seconds(runtime, lambda: generate(denoiser, keys, sampling=Sampling(steps=20, guidance=0.8), **how), rounds=1)
    coded = {"what": "images encoded", "a second": f"{images / encoding:.1f}"}
    show(
        "beside it",
        [coded, {"what": "images of 20 guided steps, decoded", "a second": f"{images / sampling:.2f}"}],
        device=a.device,
        json_file=a.json,
    )


if __name__ == "__main__":
    main()
