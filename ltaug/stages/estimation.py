"""What a stage would take on this machine: a few steps are measured, the rest is arithmetic.

Classifiers and evaluations are imported where they are measured: they load scikit-learn, which takes a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ltaug.data.budgets import parse_budget
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError, nearest
from ltaug.fields import resolve
from ltaug.generator.batching import batch_for
from ltaug.generator.cpu_forms import suit
from ltaug.generator.finding import find_named
from ltaug.generator.finetune import continued, require_same_shape
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import generate
from ltaug.generator.objectives.terms import Judged
from ltaug.generator.sampling import Sampling, guides
from ltaug.generator.stage import seconds_per_step as generator_seconds_per_step
from ltaug.generator.trainee import disk_bytes, learning
from ltaug.machine import Machine
from ltaug.memory import peak_memory, reset_peak
from ltaug.methods import judged_terms
from ltaug.options import (
    EVERYWHERE,
    JUDGES,
    STAGES,
    ClassifierOptions,
    EvaluationOptions,
    GeneratorOptions,
    SamplingOptions,
    SynthesisOptions,
)
from ltaug.records import GeneratorRecord
from ltaug.runs import ignore_events
from ltaug.runtime import Runtime, for_classifier, for_fit, for_sampling, make_runtime
from ltaug.stages.opening import Given, dataset_options, load_data, side_of


def estimate(
    stage: str,
    dataset: Given,
    given: Given,
    *,
    generator: Given | None = None,
    source: Path | None = None,
    seed: int | None = None,
    machine: Machine = Machine(),  # noqa: B008
    before: Callable[[Any], None] = lambda options: None,
) -> dict[str, Any]:
    """Time, memory and disk of a stage.

    Args:
        stage: "fit-generator", "evaluate-generator", "synthesize" or "train-classifier".
        dataset, given: as for the stage.
        generator: for evaluate-generator and synthesize, the GeneratorOptions given to the generator it would sample from.
        source: for fit-generator, the finished run it would start from.
        seed: of the draw; None takes the source's, or 0.
        machine: where it would run.
        before: called with the stage's options as they would be, before anything is measured.

    Returns:
        parameters, steps, seconds_per_step, seconds, peak_memory_bytes (of this process while measuring, or of the
        device) and disk_bytes (at most). A step of synthesize or evaluate-generator is one batch of images; `uncounted` says
        what comes on top.
    """
    if stage not in MEASURED:
        raise OptionError(f"there is no estimate of {stage!r}; {nearest(stage, MEASURED)}")
    reset_peak()  # a process that estimates several stages held more for another one
    runtime = make_runtime(machine.device, threads=machine.threads)
    dataset, given, seed = continued(source, dataset, given, seed)
    train = load_data(dataset_options(dataset), seed, machine, stage, ignore_events).train
    if source is not None:
        made, name = GeneratorRecord.read(source), str(source)
        require_same_shape(made.image_shape, train.image_shape, name=name)
    options: Any = resolve(STAGES[stage], given, image_side=side_of(train), where=stage)
    network = resolve(GeneratorOptions, generator or {}, image_side=side_of(train), where="fit-generator")
    before(options)
    found = MEASURED[stage](Setting(train, network, runtime, machine), options)
    peak = int(torch.cuda.max_memory_allocated(runtime.device)) if runtime.device.type == "cuda" else peak_memory()
    return {**found, "seconds": found["steps"] * found["seconds_per_step"], "peak_memory_bytes": peak}


@dataclass(frozen=True)
class Setting:
    """What a stage is measured with; `network` describes the generator that it would sample from."""

    train: ImageSet
    network: GeneratorOptions
    runtime: Runtime
    machine: Machine


def _generator(at: Setting, options: GeneratorOptions) -> dict[str, Any]:
    runtime = for_fit(at.runtime, at.machine, image_side=side_of(at.train), steps=options.steps)
    pipeline = find_named(options, at.machine.download)
    with torch.device("meta"):
        network = build_denoiser(options, image_shape=at.train.image_shape, num_classes=at.train.num_classes, pipeline=pipeline)
    parameters = _count(network)
    judged = _untrained_judge(at) if judged_terms(options.objective) else None
    return {
        "parameters": parameters,
        "steps": options.steps,
        "seconds_per_step": generator_seconds_per_step(at.train, options, runtime, judged=judged, pipeline=pipeline),
        "disk_bytes": disk_bytes(sum(p.numel() for p in learning(network))),
        **({"uncounted": "Where no judge is given, one is trained first."} if judged else {}),
    }


def _untrained_judge(at: Setting) -> Judged:
    """What takes as long as the judge that would be trained."""
    from ltaug.classifier.judge import Judge
    from ltaug.classifier.phases import build_for

    train, device = at.train, at.runtime.device
    options = resolve(ClassifierOptions, JUDGES[0], image_side=side_of(train))
    model = build_for(options, train).to(device).eval().requires_grad_(False)
    judge = Judge(model, train.class_names, train.image_shape, "", np.zeros(train.num_classes, np.float32), at.runtime)
    centroids = judge.embedding(torch.zeros(1, *train.image_shape, device=device)).expand(train.num_classes, -1)
    return Judged(judge.embedding, centroids, torch.ones_like(centroids[:, 0]))


def _synthesis(at: Setting, options: SynthesisOptions) -> dict[str, Any]:
    train = at.train
    budget = parse_budget(options.per_class_budget, class_names=train.class_names, class_counts=train.class_counts)
    wanted = sum(budget.values())
    return {
        **_sampling(at, replace(options, guidance=max(options.choose_guidance, default=options.guidance)), wanted),
        "disk_bytes": wanted * train.images[0].nbytes,
        "uncounted": "Not counted: selection generates more than it keeps; --start takes fewer steps, --guide longer ones.",
    }


def _evaluation(at: Setting, options: EvaluationOptions) -> dict[str, Any]:
    from ltaug.evaluation.stage import disk_bytes, per_class

    wanted = at.train.num_classes * per_class(options.samples, at.train.num_classes)
    return {
        **_sampling(at, options, wanted),
        "disk_bytes": disk_bytes(options, at.train),
        "uncounted": "Looking at the images, and training a classifier to do so, come on top.",
    }


def _sampling(at: Setting, options: SamplingOptions, wanted: int) -> dict[str, Any]:
    """A batch of images, measured with few steps of the sampler; what a guidance interval leaves out is taken off."""
    shape = at.train.image_shape
    passes = Sampling.of(options).passes(wanted)
    runtime = for_sampling(at.runtime, at.machine, image_side=side_of(at.train), passes=passes)
    pipeline = find_named(at.network, at.machine.download)
    denoiser = build_denoiser(at.network, image_shape=shape, num_classes=at.train.num_classes, pipeline=pipeline)
    denoiser.to(runtime.device).eval()
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


def _classifier(at: Setting, options: ClassifierOptions) -> dict[str, Any]:
    from ltaug.classifier.fit import disk_bytes, seconds_per_step
    from ltaug.classifier.phases import build_for, total_steps

    train = at.train
    steps = total_steps(train, options)
    runtime = for_classifier(at.runtime, at.machine, image_side=side_of(train), steps=steps)
    parameters = _count(build_for(options, train))
    return {
        "parameters": parameters,
        "steps": steps,
        "seconds_per_step": seconds_per_step(train, options, runtime),
        "disk_bytes": disk_bytes(parameters),
        **({"uncounted": f"The features of {len(train)} images are computed first."} if options.freeze == "body" else {}),
    }


MEASURED: dict[str, Callable[[Setting, Any], dict[str, Any]]] = {
    "fit-generator": _generator,
    "evaluate-generator": _evaluation,
    "synthesize": _synthesis,
    "train-classifier": _classifier,
}


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
