"""What a stage would take on this machine: a few steps are measured, the rest is arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltaug.classifier.fit import seconds_per_step as classifier_seconds_per_step
from ltaug.classifier.fit import total_steps
from ltaug.classifier.models import build_model
from ltaug.data.budgets import parse_budget
from ltaug.data.imageset import ImageSet
from ltaug.evaluation.stage import per_class
from ltaug.fields import resolve
from ltaug.generator.batching import batch_for
from ltaug.generator.checkpoints import KEPT
from ltaug.generator.cpu_forms import suit
from ltaug.generator.finetune import match_classes, require_same_shape
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import generate
from ltaug.generator.guidance import guides
from ltaug.generator.sampling import Sampling
from ltaug.generator.stage import seconds_per_step as generator_seconds_per_step
from ltaug.memory import peak_memory, reset_peak
from ltaug.options import (
    EVERYWHERE,
    ClassifierOptions,
    EvaluationOptions,
    GeneratorOptions,
    Machine,
    SamplingOptions,
    SynthesisOptions,
)
from ltaug.runs import ignore_events, read_run
from ltaug.runtime import Runtime, for_classifier, for_fit, for_sampling, make_runtime
from ltaug.stages.opening import Given, continued, load_data, side_of


def estimate(
    stage: str,
    dataset: Given,
    given: Given,
    *,
    generator: Given | None = None,
    source: Path | None = None,
    seed: int | None = None,
    machine: Machine = Machine(),  # noqa: B008
) -> dict[str, Any]:
    """Time, memory and disk of a stage.

    Args:
        stage: "fit-generator", "evaluate-generator", "synthesize" or "train-classifier".
        dataset, given: as for the stage.
        generator: for evaluate-generator and synthesize, the GeneratorOptions given to the generator it would sample from.
        source: for fit-generator, the finished run it would start from.
        seed: of the draw; None takes the source's, or 0.

    Returns:
        parameters, steps, seconds_per_step, seconds, peak_memory_bytes (of this process while measuring, or of the
        device) and disk_bytes (at most). A step of synthesize or evaluate-generator is one batch of images; `uncounted` says
        what comes on top.
    """
    reset_peak()  # a process that estimates several stages held more for another one
    runtime = make_runtime(machine.device, threads=machine.threads)
    dataset, given, seed = continued(source, dataset, given, seed)
    train = load_data(dataset, seed, machine, stage, ignore_events)[1].train
    if source is not None:
        facts, name = read_run(source)["facts"], str(source)
        require_same_shape(facts["image_shape"], train.image_shape, name=name)
        match_classes(facts["class_names"], train.class_names, name=name)
    measures: dict[str, Callable[..., dict[str, Any]]] = {
        "fit-generator": partial(_generator, machine=machine),
        "evaluate-generator": partial(_evaluation, machine=machine),
        "synthesize": partial(_synthesis, machine=machine),
        "train-classifier": partial(_classifier, machine=machine),
    }
    found = measures[stage](train, given, generator or {}, runtime)
    return {
        **found,
        "seconds": found["steps"] * found["seconds_per_step"],
        "peak_memory_bytes": _peak_memory(runtime),
    }


def _generator(train: ImageSet, given: Given, generator: Given, runtime: Runtime, *, machine: Machine) -> dict[str, Any]:
    side = side_of(train)
    options = resolve(GeneratorOptions, given, image_side=side, where="fit-generator")
    runtime = for_fit(runtime, machine, image_side=side, steps=options.steps)
    parameters = _count(build_denoiser(options, image_shape=train.image_shape, num_classes=train.num_classes))
    return {
        "parameters": parameters,
        "steps": options.steps,
        "seconds_per_step": generator_seconds_per_step(train, options, runtime),
        "disk_bytes": KEPT * 4 * 4 * parameters,  # weights, average and Adam's two moments in float32
    }


def _synthesis(train: ImageSet, given: Given, generator: Given, runtime: Runtime, *, machine: Machine) -> dict[str, Any]:
    options = resolve(SynthesisOptions, given, image_side=side_of(train), where="synthesize")
    budget = parse_budget(options.per_class_budget, class_names=train.class_names, class_counts=train.class_counts)
    wanted = sum(budget.values())
    return {
        **_sampling(train, options, wanted, generator, runtime, machine),
        "disk_bytes": wanted * train.images[0].nbytes,
        "uncounted": "Selection generates more than it keeps, which is not counted.",
    }


def _evaluation(train: ImageSet, given: Given, generator: Given, runtime: Runtime, *, machine: Machine) -> dict[str, Any]:
    options = resolve(EvaluationOptions, given, image_side=side_of(train), where="evaluate-generator")
    wanted = train.num_classes * per_class(options.samples, train.num_classes)
    return {
        **_sampling(train, options, wanted, generator, runtime, machine),
        "disk_bytes": (options.pairs * 2 + 1000) * train.images[0].nbytes,
        "uncounted": "Looking at the images, and training a classifier to do so, come on top.",
    }


def _sampling(
    train: ImageSet, options: SamplingOptions, wanted: int, generator: Given, runtime: Runtime, machine: Machine
) -> dict[str, Any]:
    """A batch of images, measured with few steps of the sampler; what a guidance interval leaves out is taken off."""
    side = side_of(train)
    network = resolve(GeneratorOptions, generator, image_side=side, where="fit-generator")
    runtime = for_sampling(runtime, machine, image_side=side, passes=Sampling.of(options).passes(wanted))
    denoiser = build_denoiser(network, image_shape=train.image_shape, num_classes=train.num_classes).to(runtime.device).eval()
    shape = train.image_shape
    batch = batch_for(
        options.sample_batch, wanted, denoiser=denoiser, image_shape=shape, guidance=options.guidance, runtime=runtime
    ).size
    suit(denoiser.backbone, runtime)
    keys = [(0, i) for i in range(batch)]

    def sample(steps: int, guidance: float) -> float:
        began = time.perf_counter()
        sampling = replace(Sampling.of(options), steps=steps, guidance=guidance, interval=EVERYWHERE)
        generate(denoiser, keys, image_shape=shape, seed=0, runtime=runtime, sampling=sampling, batch_size=batch)
        return time.perf_counter() - began

    sample(2, options.guidance)  # warms up
    short, long = sample(2, options.guidance), sample(4, options.guidance)
    guided = max(long - short, 0.0) / 2
    levels = denoiser.preconditioning.grid(options.sample_steps)[:-1].tolist()
    off = (
        sum(not guides(denoiser.preconditioning, sigma, options.guidance_interval) for sigma in levels) if options.guidance else 0
    )
    saved = off * max(guided - max(sample(4, 0) - sample(2, 0), 0.0) / 2, 0.0) if off else 0.0
    return {
        "parameters": _count(denoiser),
        "images": wanted,
        "steps": -(-wanted // batch),
        "seconds_per_step": max(short + guided * (options.sample_steps - 2) - saved, 0.0),
    }


def _classifier(train: ImageSet, given: Given, generator: Given, runtime: Runtime, *, machine: Machine) -> dict[str, Any]:
    side = side_of(train)
    options = resolve(ClassifierOptions, given, image_side=side, where="train-classifier")
    steps = total_steps(len(train), steps=options.steps, epochs=options.epochs, batch_size=options.batch_size)
    runtime = for_classifier(runtime, machine, image_side=side, steps=steps)
    parameters = _count(build_model(options.model, num_classes=train.num_classes, image_shape=train.image_shape))
    return {
        "parameters": parameters,
        "steps": steps,
        "seconds_per_step": classifier_seconds_per_step(train, options, runtime),
        "disk_bytes": 4 * parameters,
    }


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _peak_memory(runtime: Runtime) -> int:
    if runtime.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(runtime.device))
    return peak_memory()
