"""Fitting: schedules, determinism, exact resume, and that each option reaches the training."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import make_pool
from ltaug.classifier.fit import batches_of, fit_classifier
from ltaug.classifier.judge import probabilities
from ltaug.classifier.models import build_model
from ltaug.classifier.phases import build_learner, phases_of, total_steps
from ltaug.classifier.schedules import learning_rates
from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError, MismatchError, OptionError
from ltaug.fields import resolve
from ltaug.methods import CLASSIFIER_AUGMENTATIONS, LOSSES
from ltaug.options import ClassifierOptions
from ltaug.runtime import make_runtime

CPU = make_runtime("cpu")


def stripes(counts, *, seed=0, side=8):
    """Noisy images whose class is the column that is bright."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.random.default_rng(seed).integers(0, 120, (len(labels), 1, side, side), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, 2 * labels + 1] = 250
    return ImageSet(images, labels, tuple("abc"[: len(counts)]), "stripes")


TRAIN, MADE = stripes([40, 12, 4]), stripes([0, 20, 30], seed=1)


def fit(
    train=TRAIN,
    *,
    steps=12,
    seed=0,
    synthetic=None,
    on_step=None,
    checkpoints=None,
    checkpoint_every=5000,
    tell=pytest.fail,
    **given,
):
    options = resolve(ClassifierOptions, {"steps": steps, "batch_size": 16, **given}, image_side=8)
    return fit_classifier(
        train,
        options,
        synthetic=synthetic,
        seed=seed,
        runtime=CPU,
        on_step=on_step,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        tell=tell,
    )[0]


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_step_schedule_warms_up_and_falls_tenfold_at_80_and_90_percent():
    rates = learning_rates(100, lr=1.0, schedule="step", warmup=0.04)
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[79:81] == pytest.approx([1, 0.1])
    assert rates[89:91] == pytest.approx([0.1, 0.01])


def test_the_cosine_schedule_is_half_way_in_the_middle():
    rates = learning_rates(100, lr=2.0, schedule="cosine", warmup=0)
    assert (rates[0], rates[50]) == pytest.approx((2, 1))
    assert 0 < rates[-1] < 0.001
    with pytest.raises(OptionError, match="cosine"):
        learning_rates(10, lr=1.0, schedule="cosin", warmup=0)


def test_epochs_are_passes_over_the_real_images_and_steps_override_them():
    train, options = stripes([60, 40]), ClassifierOptions(epochs=3, batch_size=64)
    assert total_steps(train, options) == 5
    assert total_steps(train, dataclasses.replace(options, steps=7)) == 7


@pytest.mark.parametrize("synthetic", [None, MADE])
def test_a_fit_takes_as_many_steps_with_synthetic_images_as_without(synthetic):
    told = []
    options = ClassifierOptions(model="resnet8", augment="none", epochs=3, batch_size=16)
    fit_classifier(
        TRAIN, options, synthetic=synthetic, seed=0, runtime=CPU, on_step=lambda step, total, _: told.append((step, total))
    )
    assert told[-1] == (11, 11), "3 passes over 56 images"


def test_a_fit_learns_to_tell_the_classes_apart_and_reports_as_it_goes():
    told = []
    model = fit(steps=60, on_step=lambda step, total, values: told.append((step, total, values)))
    test = stripes([20, 20, 20], seed=9)
    assert (probabilities(model, test.images, runtime=CPU).argmax(1) == test.labels).mean() > 0.9
    assert [step for step, _, _ in told] == list(range(1, 61))
    assert told[-1][2]["loss"] < 0.3 * told[0][2]["loss"]
    assert not model.training


@pytest.mark.parametrize("augment", CLASSIFIER_AUGMENTATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_leaves_the_global_generator_alone(loss, augment):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fit(steps=3, synthetic=MADE, loss=loss, augment=augment, sampling="balanced", synthetic_fraction=0.5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = fit(steps=3, synthetic=MADE, loss=loss, augment=augment, sampling="balanced", synthetic_fraction=0.5)
    assert same_weights(first, again)
    other = fit(steps=3, synthetic=MADE, loss=loss, augment=augment, sampling="balanced", synthetic_fraction=0.5, seed=1)
    assert not same_weights(first, other)


def test_an_interrupted_fit_goes_on_from_its_checkpoint_bit_for_bit(tmp_path):
    whole = fit(steps=12, augment="shift-rotate")

    def stop(step, total, values):
        if step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(steps=12, augment="shift-rotate", checkpoints=tmp_path, checkpoint_every=4, on_step=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-4", "step-8"]
    seen = []
    resumed = fit(
        steps=12,
        augment="shift-rotate",
        checkpoints=tmp_path,
        checkpoint_every=4,
        on_step=lambda step, total, values: seen.append(step),
    )
    assert seen == [9, 10, 11, 12]
    assert same_weights(whole, resumed)


@pytest.mark.parametrize("given", [{"augment": "shift-rotate"}, {"average": "ema"}, {"refit": "last", "refit_share": 0.5}])
@pytest.mark.parametrize("told_at", [2, 5, 11])
def test_a_fit_that_is_told_to_stop_writes_a_checkpoint_at_once_and_goes_on_bit_for_bit(tmp_path, told_at, given):
    def tell_it(step, total, values):
        if step == told_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        fit(checkpoints=tmp_path, on_step=tell_it, **given)
    assert [p.name for p in tmp_path.iterdir()] == [f"step-{told_at + 1}"]
    begun = []
    resumed = fit(checkpoints=tmp_path, on_step=lambda step, total, values: begun.append(step), **given)
    assert begun == list(range(told_at + 2, 13))
    assert same_weights(fit(**given), resumed)


def test_a_fit_without_checkpoints_is_told_to_stop_and_does():
    begun = []

    def tell_it(step, total, values):
        begun.append(step)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        fit(on_step=tell_it)
    assert len(begun) <= 2


def test_a_fit_on_sets_too_large_for_memory_ends_bit_for_bit_the_same(monkeypatch):
    given = {"synthetic": MADE, "augment": "crop-flip", "sampling": "balanced", "steps": 20}
    resident = fit(**given)
    monkeypatch.setattr("ltaug.feed.available_memory", lambda: 0)
    monkeypatch.setattr("ltaug.feed.Resident", None)
    assert same_weights(resident, fit(**given))


def test_a_damaged_checkpoint_is_not_used(tmp_path):
    whole, said, begun = fit(steps=8, checkpoints=tmp_path, checkpoint_every=2), [], []
    state = tmp_path / "step-6" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1] + b"\x7f")
    again = fit(steps=8, checkpoints=tmp_path, tell=said.append, on_step=lambda step, total, values: begun.append(step))
    assert same_weights(whole, again)
    assert "after step 6 is not used" in said[0]
    assert begun[0] == 5


def test_synthetic_images_of_weight_0_leave_the_loss_to_the_real_ones():
    wrong = ImageSet(MADE.images, np.full(50, 1), MADE.class_names, "wrong labels")

    def first_loss(synthetic, weight):
        told = []
        fit(
            steps=1,
            synthetic=synthetic,
            synthetic_fraction=0.5,
            synthetic_weight=weight,
            on_step=lambda step, total, values: told.append(values["loss"]),
        )
        return told[0]

    assert first_loss(MADE, 0.0) == first_loss(wrong, 0.0)
    assert first_loss(MADE, 1.0) != first_loss(wrong, 1.0)
    real, both, double = first_loss(MADE, 0.0), first_loss(MADE, 1.0), first_loss(MADE, 2.0)
    assert double == pytest.approx((real + 2 * (2 * both - real)) / 3, rel=1e-5)  # 2 * both - real: the synthetic half's mean


def test_the_weight_of_a_mixed_image_is_the_mixture_of_its_sources_weights():
    options = resolve(ClassifierOptions, {"synthetic_weight": 3.0, "batch_size": 16, "lr": 0.0}, image_side=8)
    (phase,), pool = phases_of(TRAIN, MADE, options, seed=0), make_pool(TRAIN, MADE, device=CPU.device)
    network = build_model(options.model, num_classes=TRAIN.num_classes, image_shape=TRAIN.image_shape)
    learner = build_learner(network, phase, pool, CPU)
    (batch,) = batches_of(phase.plan, pool, build_augmentation(options), 0, 1)
    real, made, mixed = (
        float(learner.learn(batch._replace(sources=sources)))
        for sources in (torch.zeros(16, dtype=torch.long), torch.ones(16, dtype=torch.long), torch.tensor([[0.75, 0.25]] * 16))
    )
    assert made == pytest.approx(3 * real, rel=1e-5)
    assert mixed == pytest.approx(1.5 * real, rel=1e-5)


def test_an_empty_synthetic_set_is_as_none():
    assert same_weights(fit(steps=3), fit(steps=3, synthetic=MADE.take(np.array([], dtype=np.int64)), synthetic_fraction=0.5))


def test_the_adjusted_prior_of_a_balanced_draw_is_uniform():
    def distance(sampling):
        plain, adjusted = fit(steps=2, sampling=sampling), fit(steps=2, sampling=sampling, loss="logit-adjusted")
        return float((plain.fc.weight - adjusted.fc.weight).detach().abs().max())

    assert distance("balanced") < 1e-4
    assert distance("natural") > 1e-2


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"synthetic": stripes([3, 3])}, MismatchError, "other classes"),
        ({"synthetic": stripes([3, 3, 3], side=12)}, MismatchError, "12"),
        ({"train": TRAIN.take(np.array([], dtype=np.int64))}, DataError, "no training images"),
        ({"synthetic": MADE, "synthetic_fraction": 1.0, "synthetic_weight": 0.0}, OptionError, "nothing to learn"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_a_sentence(kwargs, error, said):
    with pytest.raises(error, match=said):
        fit(**kwargs)
