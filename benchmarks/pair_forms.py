"""What CBDM's cheaper forms cost and how noisy their gradients are, against the paper's form.

    python benchmarks/pair_forms.py                  # digits, 294 images, after 300 steps of CBDM

At fixed weights, every form takes the gradient of the same batches. Its noise is the trace of the gradient's covariance over
those batches, of the whole loss and of the CBDM term alone, as ratios to the paper's form; its cost is the passes and the
time of a step. All forms have the same expectation (tests/generator/test_generator_cbdm_forms.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch

from ltaug.data.load import load_dataset
from ltaug.fields import resolve
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch, fit
from ltaug.generator.objectives import make_objective, settings_of
from ltaug.options import DatasetOptions, GeneratorOptions
from ltaug.runtime import Runtime

FORMS = {
    "paper": {},
    "draws 2": {"draws": 2},
    "draws 4": {"draws": 4},
    "sampled": {"pair_form": "sampled"},
    "fraction .5": {"pair_fraction": 0.5},
    "fraction .25": {"pair_fraction": 0.25},
    "sampled, draws 2": {"pair_form": "sampled", "draws": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    train = load_dataset(DatasetOptions(imbalance=100, head=120), seed=0).train
    options = resolve(GeneratorOptions, {"steps": a.steps, "objective": "cbdm"}, image_side=8)
    runtime = Runtime(torch.device("cpu"), None)
    trainee = build_trainee(options, train, seed=0, device=runtime.device)
    fit(trainee, train, options, runtime, seed=0)
    denoiser, data = trainee.denoiser, TrainingData.on(runtime.device, train)
    parameters = list(denoiser.parameters())
    objectives = {
        name: make_objective(
            "cbdm",
            class_counts=torch.from_numpy(train.class_counts),
            feature_channels=denoiser.feature_channels,
            settings=settings_of(dataclasses.replace(options, **form)),
        )
        for name, form in FORMS.items()
    }
    moments = {name: {part: [0.0, 0.0] for part in ("loss", "cbdm")} for name in FORMS}
    passes, seconds = dict.fromkeys(FORMS, 0), {name: [] for name in FORMS}

    def count(module, given):
        nonlocal seen
        seen = len(given[2])

    seen = 0
    denoiser.register_forward_pre_hook(count)
    for step in range(a.batches):
        for name, objective in objectives.items():
            batch = draw_batch(data, options, denoiser, step=a.steps + step, seed=0)
            began = time.perf_counter()
            result = objective(denoiser, batch)
            for part, value in (("loss", result.loss), ("cbdm", result.terms["cbdm"])):
                found = torch.autograd.grad(value.mean(), parameters, retain_graph=part == "loss", allow_unused=True)
                if part == "loss":
                    seconds[name].append(time.perf_counter() - began)
                gradient = torch.cat([g.flatten() for g in found if g is not None]).double()
                total = moments[name][part]
                total[0], total[1] = total[0] + gradient, total[1] + gradient.square().sum()
            passes[name] += seen
    noise = {
        name: {part: float(square - total.square().sum() / a.batches) for part, (total, square) in parts.items()}
        for name, parts in moments.items()
    }
    setting = f"after {a.steps} steps; {a.batches} batches of {options.batch_size}; {a.threads} thread(s)"
    print(f"digits, {len(train)} images, {setting}; torch {torch.__version__}")
    print("form               passes an image   time     noise of the loss's gradient   of the CBDM term's")
    plain = np.array(seconds["paper"])
    for name, found in noise.items():
        each = passes[name] / a.batches / options.batch_size
        spent = np.median(np.array(seconds[name]) / plain)
        print(
            f"{name:18s} {each:10.2f} {spent:13.2f} x {found['loss'] / noise['paper']['loss']:16.2f} x "
            f"{found['cbdm'] / noise['paper']['cbdm']:22.2f} x"
        )


if __name__ == "__main__":
    main()
