"""A fit whose gradients stop being finite, and images that are not finite: nothing of them enters weights, files or figures."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from ltaug.checkpoints import checkpoint_steps
from ltaug.errors import DataError, OptionError
from ltaug.generator import stage, step
from ltaug.generator.batching import BatchSize
from ltaug.generator.fit import build_trainee, fit
from ltaug.generator.generate import AGAIN, generate
from ltaug.generator.sampling import Sampling
from ltaug.generator.stage import HALVED, PATIENCE, run_generator
from ltaug.generator.step import prepare
from ltaug.methods import SAMPLERS
from ltaug.runs import open_run

STEPS = 30


@pytest.fixture
def options(tiny_options):
    return dataclasses.replace(tiny_options, steps=STEPS, checkpoint_every=5, lr=0.01)


@pytest.fixture
def spoil(monkeypatch):
    """Make the gradients of the steps NaN for which a function of (step, learning rate) is true; the steps that are made."""
    made = []

    def spoil_if(chosen):
        train_step = step.train_step

        def spoiled(trainee, batch, options, runtime, *, step, gradients):
            made.append(step)
            if chosen(step, options.lr):
                batch = dataclasses.replace(batch, weight=batch.weight * float("nan"))
            return train_step(trainee, batch, options, runtime, step=step, gradients=gradients)

        monkeypatch.setattr("ltaug.generator.fit.train_step", spoiled)
        return made

    return spoil_if


def run(path, train, options, runtime):
    spec = {"stage": "fit-generator", "label": "g", "seed": 0, "options": dataclasses.asdict(options), "inputs": {}}
    events = []
    with open_run(path, versions={}, device={}, listener=events.append, **json.loads(json.dumps(spec))) as opened:
        if not opened.finished:
            run_generator(train, options, run=opened, runtime=runtime, seed=0)
    return opened.record["facts"], [event.text for event in events]


@pytest.mark.parametrize("plain", [False, True])
def test_a_step_without_finite_gradients_changes_no_weight(plain, spoil, tiny_set, options, cpu):
    runtime = dataclasses.replace(cpu, plain=plain)
    ends = []
    for spoiled in (False, True):
        if spoiled:
            spoil(lambda step, lr: step == 4)
        trainee = prepare(build_trainee(options, tiny_set, seed=0, device=cpu.device), options, runtime)
        weights = []
        fit(
            trainee,
            tiny_set,
            dataclasses.replace(options, steps=6),
            runtime,
            seed=0,
            after_step=lambda step, terms, now=trainee, to=weights: (
                to.append(([p.detach().clone() for p in now.denoiser.parameters()], float(now.skipped))) or True
            ),
        )
        ends.append(weights)
    (clean, _), (skipped, counts) = (zip(*weights, strict=True) for weights in ends)
    assert counts == (0, 0, 0, 0, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(skipped[4], skipped[3], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(clean[3], skipped[3], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(skipped[5], skipped[4], strict=True))
    assert all(p.isfinite().all() for p in skipped[5])


def test_a_few_skipped_steps_are_got_over(spoil, tiny_set, options, cpu, tmp_path):
    spoil(lambda step, lr: 11 <= step < 11 + PATIENCE - 1)
    facts, _ = run(tmp_path / "g", tiny_set, options, cpu)
    assert HALVED not in facts
    assert checkpoint_steps(tmp_path / "g" / "checkpoints") == [25, STEPS]


def test_a_fit_that_diverges_goes_back_once_at_half_the_rate(spoil, tiny_set, options, cpu, tmp_path):
    made = spoil(lambda step, lr: step >= 12 and lr == options.lr)
    facts, said = run(tmp_path / "g", tiny_set, options, cpu)
    assert facts[HALVED] == 12 + PATIENCE
    assert "Continuing from step 10 of 30." in said
    assert any("half of --lr 0.01" in text for text in said)
    assert made == [*range(12 + PATIENCE), *range(10, STEPS)]


def test_an_interrupted_fit_keeps_to_half_the_rate(spoil, tiny_set, options, cpu, tmp_path, monkeypatch):
    def stopping(step, lr):
        if step == 20 and lr < options.lr:
            raise KeyboardInterrupt
        return step >= 12 and lr == options.lr

    spoil(stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "g", tiny_set, options, cpu)
    monkeypatch.undo()
    rates = []
    monkeypatch.setattr(stage, "fit", lambda *args, **kwargs: rates.append(args[2].lr) or fit(*args, **kwargs))
    run(tmp_path / "g", tiny_set, options, cpu)
    assert rates == [options.lr / 2]


def test_a_fit_that_diverges_at_half_the_rate_too_ends_in_a_sentence_each_time(spoil, tiny_set, options, cpu, tmp_path):
    spoil(lambda step, lr: step >= 3)
    for _ in range(2):
        with pytest.raises(OptionError, match=r"diverged.* --lr 0\.01 .*smaller --lr"):
            run(tmp_path / "g", tiny_set, options, cpu)
    assert not checkpoint_steps(tmp_path / "g" / "checkpoints")


def spoiled_sampler(largest):
    """A sampler that returns its noise, but NaN where the first pixel is above `largest` standard deviations."""

    def sample(denoise, x, sigmas, noise, **settings):
        return torch.where(x[:, :, :1, :1] > largest * sigmas[0], torch.nan, x / sigmas[0])

    return sample


def test_an_image_that_is_not_finite_is_made_again_the_same_in_any_company(tiny_set, options, cpu, monkeypatch):
    monkeypatch.setitem(SAMPLERS.entries, "ddim", spoiled_sampler(0.5))
    denoiser = build_trainee(options, tiny_set, seed=0, device=cpu.device).ema.module
    said = []

    def make(keys, size):
        sampling, batch = Sampling(sampler="ddim", steps=2), BatchSize(size, said.append)
        return generate(denoiser, keys, image_shape=(1, 8, 8), seed=1, runtime=cpu, sampling=sampling, batch_size=batch)

    keys = [(c, i) for c in range(3) for i in range(4)]
    together = make(keys, 8)
    assert said[0].endswith("of 12 images were not finite and are made again.")
    assert (together.reshape(len(keys), -1).max(1) > 0).all()
    for i, key in enumerate(keys):
        assert np.array_equal(together[[i]], make([key], 8))


def test_a_generator_that_makes_nothing_finite_is_said(tiny_set, options, cpu, monkeypatch):
    monkeypatch.setitem(SAMPLERS.entries, "ddim", spoiled_sampler(-100))
    denoiser = build_trainee(options, tiny_set, seed=0, device=cpu.device).ema.module
    sampling = Sampling(sampler="ddim", steps=2)
    with pytest.raises(DataError, match=rf"2 of 2 images are not finite, {AGAIN + 1} times over"):
        generate(denoiser, [(0, 0), (1, 0)], image_shape=(1, 8, 8), seed=1, runtime=cpu, sampling=sampling)
