"""The fit: every step's randomness is its own, so an interrupted run ends bit for bit where it would have."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ltaug.checkpoints import checkpoint_steps
from ltaug.errors import CorruptError, MismatchError
from ltaug.feed import Resident, Streamed
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch, fit, train_step
from ltaug.generator.generate import Generator, generate
from ltaug.generator.preconditioning import EDM
from ltaug.generator.resampling import rows_of_step
from ltaug.generator.sampling import Sampling
from ltaug.generator.stage import run_generator
from ltaug.generator.trainee import EMA, read_checkpoint, restore, save_checkpoint
from ltaug.runs import open_run


def weights(trainee):
    parts = (trainee.denoiser, trainee.ema.module, trainee.objective)
    return [value for part in parts for value in part.state_dict().values()]


def identical(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_is_the_same_whenever_it_is_asked_for(tiny_set, tiny_options):
    data = TrainingData.on(torch.device("cpu"), tiny_set)
    denoiser = build_trainee(tiny_options, tiny_set, seed=0, device=torch.device("cpu")).denoiser
    one = draw_batch(data, tiny_options, denoiser, step=5, seed=0)
    torch.randn(100)
    again = draw_batch(data, tiny_options, denoiser, step=5, seed=0)
    other = draw_batch(data, tiny_options, denoiser, step=5, seed=1)
    assert torch.equal(one.eps, again.eps)
    assert torch.equal(one.labels, again.labels)
    assert not torch.equal(one.eps, other.eps)
    assert one.x0.min() >= -1
    assert one.x0.max() <= 1


def test_label_dropout_replaces_that_share_of_labels_by_none(tiny_set, tiny_options):
    options = dataclasses.replace(tiny_options, batch_size=4000, label_dropout=0.25)
    data = TrainingData.on(torch.device("cpu"), tiny_set)
    denoiser = build_trainee(options, tiny_set, seed=0, device=torch.device("cpu")).denoiser
    batch = draw_batch(data, options, denoiser, step=0, seed=0)
    assert (~batch.labelled).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (batch.labels[~batch.labelled] == 3).all()


def test_mirroring_happens_only_where_it_is_asked_for(tiny_set, tiny_options):
    data = TrainingData.on(torch.device("cpu"), tiny_set)
    denoiser = build_trainee(tiny_options, tiny_set, seed=0, device=torch.device("cpu")).denoiser
    rows = rows_of_step(0, batch_size=4, count=10, seed=0)
    plain = draw_batch(data, dataclasses.replace(tiny_options, flip=False), denoiser, step=0, seed=0).x0
    exact = tiny_set.images[rows.numpy()] / 127.5 - 1
    np.testing.assert_allclose(plain.numpy(), exact, atol=1e-6)
    mirrored = torch.cat([draw_batch(data, tiny_options, denoiser, step=s, seed=0).x0 for s in range(20)])
    sources = torch.cat([rows_of_step(s, batch_size=4, count=10, seed=0) for s in range(20)])
    original = torch.from_numpy(tiny_set.images[sources.numpy()] / 127.5 - 1).float()
    same = (mirrored - original).abs().amax((1, 2, 3)) < 1e-6
    flipped = (mirrored - original.flip(-1)).abs().amax((1, 2, 3)) < 1e-6
    assert (same ^ flipped).all()
    assert 0.25 < flipped.double().mean() < 0.75


@pytest.mark.parametrize(
    "changed",
    [
        {"objective": "cbdm"},
        {"objective": "coral"},
        {"objective": "t2h+cbdm+coral", "sampling": "rs"},
        {"objective": "cbdm", "augment": "ada"},
        {"objective": "cbdm", "draws": 2, "pair_form": "sampled", "pair_fraction": 0.5, "sampling": "rs-sqrt"},
    ],
    ids=str,
)
def test_a_run_continued_from_a_checkpoint_ends_bit_for_bit_the_same(changed, tiny_set, tiny_options, cpu, tmp_path):
    tiny_options = dataclasses.replace(tiny_options, **changed)
    whole = build_trainee(tiny_options, tiny_set, seed=3, device=cpu.device)
    fit(whole, tiny_set, tiny_options, cpu, seed=3)
    first = build_trainee(tiny_options, tiny_set, seed=3, device=cpu.device)
    fit(first, tiny_set, tiny_options, cpu, seed=3, after_step=lambda step, terms: step < 5)
    save_checkpoint(tmp_path, 5, first)
    second = build_trainee(tiny_options, tiny_set, seed=3, device=cpu.device)
    assert not identical(weights(second), weights(whole))
    restore(second, read_checkpoint(tmp_path / "step-5"))
    fit(second, tiny_set, tiny_options, cpu, seed=3, start=5)
    assert identical(weights(second), weights(whole))


@pytest.mark.parametrize("sampling", ["natural", "rs"])
def test_a_fit_on_a_set_too_large_for_memory_ends_bit_for_bit_the_same(sampling, tiny_set, tiny_options, cpu, monkeypatch):
    options = dataclasses.replace(tiny_options, objective="cbdm", sampling=sampling)
    ends = []
    for available in (2**40, 0):
        monkeypatch.setattr("ltaug.feed.available_memory", lambda there=available: there)
        assert isinstance(TrainingData.on(cpu.device, tiny_set).images, Resident if available else Streamed)
        trainee = build_trainee(options, tiny_set, seed=3, device=cpu.device)
        fit(trainee, tiny_set, options, cpu, seed=3, start=2)
        ends.append(weights(trainee))
    assert identical(*ends)


def test_what_a_regulariser_owns_is_trained_and_left_behind_at_sampling(tiny_set, tiny_options, cpu, tmp_path):
    options = dataclasses.replace(tiny_options, objective="coral", label_dropout=0.0)
    trainee = build_trainee(options, tiny_set, seed=0, device=cpu.device)
    before = [v.clone() for v in trainee.objective.state_dict().values()]
    assert [v.shape[0] for v in before] == [128, 128]
    fit(trainee, tiny_set, options, cpu, seed=0)
    assert not identical(before, trainee.objective.state_dict().values())
    record = stage(tmp_path / "gen", tiny_set, options, cpu)
    alone = build_trainee(dataclasses.replace(options, objective="ddpm"), tiny_set, seed=0, device=cpu.device)
    assert record["facts"]["parameters"] == sum(p.numel() for p in alone.denoiser.parameters())
    sampled = Generator.load(tmp_path / "gen", runtime=cpu).denoiser.state_dict()
    assert sampled.keys() == alone.denoiser.state_dict().keys()


def test_the_gradient_is_clipped_with_what_regularisers_own(tiny_set, tiny_options, cpu):
    options = dataclasses.replace(tiny_options, objective="coral", coral_weight=100.0, label_dropout=0.0, grad_clip=0.01)
    trainee = build_trainee(options, tiny_set, seed=0, device=cpu.device)
    data = TrainingData.on(cpu.device, tiny_set)
    train_step(trainee, draw_batch(data, options, trainee.denoiser, step=0, seed=0), options, cpu, step=0)
    parameters = [*trainee.denoiser.parameters(), *trainee.objective.parameters()]
    norm = sum(p.grad.square().sum() for p in parameters).sqrt().item()
    assert norm == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("warmup", "shares"), [(4, [0.25, 0.5, 0.75, 1, 1, 1]), (1, [1, 1]), (0, [1, 1])])
def test_the_learning_rate_rises_in_equal_parts_to_its_full_value_at_the_last_step_of_the_warm_up(
    warmup, shares, tiny_set, tiny_options, cpu
):
    options = dataclasses.replace(tiny_options, warmup=warmup, lr=0.5)
    trainee = build_trainee(options, tiny_set, seed=0, device=cpu.device)
    data = TrainingData.on(cpu.device, tiny_set)
    used = []
    trainee.optimizer.register_step_pre_hook(lambda optimizer, *_: used.extend(g["lr"] for g in optimizer.param_groups))
    for step in range(len(shares)):
        train_step(trainee, draw_batch(data, options, trainee.denoiser, step=step, seed=0), options, cpu, step=step)
    assert used == [0.5 * share for share in shares]


@pytest.mark.parametrize(("sampling", "rare"), [("natural", 0.1), ("rs", 1 / 3)])
def test_the_fit_trains_on_images_sampled_as_asked(sampling, rare, tiny_set, tiny_options, cpu):
    options = dataclasses.replace(tiny_options, objective="ddpm", sampling=sampling, batch_size=500, steps=3, label_dropout=0.0)
    trainee = build_trainee(options, tiny_set, seed=0, device=cpu.device)
    seen = []
    trainee.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[2]))
    fit(trainee, tiny_set, options, cpu, seed=0)
    assert (torch.cat(seen) == 2).double().mean().item() == pytest.approx(rare, abs=0.05)


def test_only_the_newest_checkpoints_are_kept(tiny_set, tiny_options, cpu, tmp_path):
    trainee = build_trainee(tiny_options, tiny_set, seed=0, device=cpu.device)
    for step in (3, 6, 9):
        save_checkpoint(tmp_path, step, trainee)
    assert checkpoint_steps(tmp_path) == [6, 9]


def test_training_lowers_the_loss(tiny_set, tiny_options, cpu):
    losses = []
    options = dataclasses.replace(tiny_options, steps=60, batch_size=32, lr=3e-3, dropout=0.0)
    trainee = build_trainee(options, tiny_set, seed=0, device=cpu.device)
    fit(trainee, tiny_set, options, cpu, seed=0, after_step=lambda s, t: losses.append(float(t["loss"])) is None)
    assert np.mean(losses[-15:]) < 0.8 * np.mean(losses[:5])


def test_the_average_warms_up_and_then_decays_as_told():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    ema = EMA(module, decay=0.5)
    torch.nn.init.ones_(module.weight)
    ema.update(0)  # decay 1/10
    assert ema.module.weight.item() == pytest.approx(0.9)
    ema.update(1000)  # decay 0.5
    assert ema.module.weight.item() == pytest.approx(0.95)


def stage(path, tiny_set, options, cpu, **how):
    opened = open_run(
        path,
        stage="fit-generator",
        label="g",
        seed=0,
        options={"fit-generator": vars(options)},
        inputs={},
        versions={},
        device={},
    )
    with opened as run:
        if not run.finished:
            run_generator(tiny_set, options, run=run, runtime=cpu, seed=0, **how)
        return run.record


def test_the_stage_leaves_a_generator_that_can_be_loaded(tiny_set, tiny_options, cpu, tmp_path):
    record = stage(tmp_path / "gen", tiny_set, tiny_options, cpu)
    assert record["status"] == "finished"
    assert (tmp_path / "gen" / "samples.png").exists()
    loaded = Generator.load(tmp_path / "gen", runtime=cpu)
    assert loaded.class_names == ("a", "b", "c")
    assert loaded.image_shape == (1, 8, 8)
    assert record["outputs"]["checkpoints/step-8/ema.safetensors"] == loaded.digest
    assert not any(p.requires_grad for p in loaded.denoiser.parameters())


@pytest.mark.parametrize("changed", [{}, {"preconditioning": "edm"}, {"objective": "t2h+cbdm+coral"}], ids=str)
def test_previews_show_the_same_noise_every_n_steps_and_change_no_weight(changed, tiny_set, tiny_options, cpu, tmp_path):
    options = dataclasses.replace(tiny_options, **changed)
    without = stage(tmp_path / "without", tiny_set, options, cpu)
    record = stage(tmp_path / "gen", tiny_set, options, cpu, preview=4)
    assert record["outputs"] == without["outputs"]
    for file in (tmp_path / "without").rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "gen" / file.relative_to(tmp_path / "without")).read_bytes()
    assert not (tmp_path / "without/previews").exists()
    sheets = [tmp_path / f"gen/previews/step-{step}.png" for step in (4, 8)]
    assert sorted((tmp_path / "gen/previews").iterdir()) == sheets
    first, last = (np.asarray(Image.open(sheet)) for sheet in sheets)
    np.testing.assert_array_equal(last, np.asarray(Image.open(tmp_path / "gen/samples.png"))[: len(last), : last.shape[1]])
    assert last.shape == (3 * 66 + 2, 4 * 66 + 2)
    assert not np.array_equal(first, last)
    told = [json.loads(line) for line in (tmp_path / "gen/metrics.jsonl").read_text().splitlines()]
    said = [(line["step"], line["text"]) for line in told if "Samples" in line["text"]]
    assert said == [(n, f"Samples after {n} steps are in {sheet}.") for n, sheet in zip((4, 8), sheets, strict=True)]


def test_a_generator_is_loaded_under_the_preconditioning_it_was_fitted_with(tiny_set, tiny_options, cpu, tmp_path):
    stage(tmp_path / "gen", tiny_set, dataclasses.replace(tiny_options, preconditioning="edm"), cpu)
    loaded = Generator.load(tmp_path / "gen", runtime=cpu)
    assert isinstance(loaded.denoiser.preconditioning, EDM)
    images = generate(loaded.denoiser, [(0, 0), (1, 0)], image_shape=(1, 8, 8), seed=0, runtime=cpu, sampling=Sampling(steps=3))
    assert images.shape == (2, 1, 8, 8)


def test_a_checkpoint_with_a_flipped_byte_is_refused(tiny_set, tiny_options, cpu, tmp_path):
    stage(tmp_path / "gen", tiny_set, tiny_options, cpu)
    file = tmp_path / "gen" / "checkpoints" / "step-8" / "ema.safetensors"
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError, match="is damaged"):
        Generator.load(tmp_path / "gen", runtime=cpu)


def test_another_stages_run_is_not_a_generator(tmp_path, cpu):
    with open_run(tmp_path / "x", stage="synthesize", label="x", seed=0, options={}, inputs={}, versions={}, device={}):
        pass
    with pytest.raises(MismatchError, match="synthesize run; a fit-generator run is needed"):
        Generator.load(tmp_path / "x", runtime=cpu)


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++2m"])
def test_an_image_is_the_same_in_any_batch_and_any_company(sampler, tiny_set, tiny_options, cpu):
    torch.manual_seed(0)
    denoiser = build_trainee(tiny_options, tiny_set, seed=0, device=cpu.device).ema.module
    for p in denoiser.parameters():
        p.add_(0.05 * torch.randn_like(p))

    def make(keys, batch_size):
        sampling = Sampling(sampler=sampler, steps=4)
        return generate(denoiser, keys, image_shape=(1, 8, 8), seed=5, runtime=cpu, sampling=sampling, batch_size=batch_size)

    keys = [(c, i) for c in range(3) for i in range(7)]
    together = make(keys, 8)
    assert np.array_equal(together[[3, 17]], make([keys[3], keys[17]], 8))
    assert np.abs(together.astype(int) - make(keys, 3).astype(int)).max() <= 1
    assert len(np.unique(together.reshape(len(keys), -1), axis=0)) == len(keys)
    assert make([], 4).shape == (0, 1, 8, 8)


def test_a_finished_run_whose_last_checkpoint_is_lost_does_not_fall_back_on_an_older_one(tmp_path):
    from ltaug import fit_generator
    from ltaug.runtime import make_runtime

    given = {"steps": 4, "checkpoint_every": 2, "channels": 8, "batch_size": 4}
    out = fit_generator({"dataset": "digits"}, given, out=tmp_path / "gen")
    shutil.rmtree(out / "checkpoints" / "step-4")
    with pytest.raises(CorruptError, match=r"step-4/ema.safetensors is missing; delete \S*/gen and"):
        Generator.load(out, runtime=make_runtime("cpu"))
    with pytest.raises(CorruptError, match=r"delete \S*/gen and run its command again"):
        fit_generator({"dataset": "digits"}, given, out=out)
