"""ProCo: its logits against SciPy's Bessel functions, its statistics against direct means, and what must not move them."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import torch
from scipy.special import ive
from test_classifier_fast import CAPTURED, played  # noqa: F401  (a fixture)
from test_classifier_fast import fit as fit_told
from test_classifier_fit import CPU, MADE, TRAIN, fit, same_weights
from test_classifier_phases import teacher
from torch import nn

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.averaging import Average
from ltaug.classifier.batches import make_pool
from ltaug.classifier.contrastive import KEPT, VMFHead, log_normaliser_ratio, vmf_logits
from ltaug.classifier.fit import batches_of, fit_classifier
from ltaug.classifier.judge import load_weights, probabilities, save_weights
from ltaug.classifier.models import build_model, part_of, penultimate
from ltaug.classifier.phases import build_learner, phases_of
from ltaug.classifier.teachers import distillation
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.options import ClassifierOptions

NU = 63
KAPPAS = np.array([1e-3, 0.1, 1.0, 10.0, 63.0, 200.0, 3e3, 6e4])


def log_normaliser(k):
    """log C_128(k), but for a constant."""
    return NU * np.log(k) - np.log(ive(NU, k)) - k


def bessel_ratio(k):
    """-d/dk log C_p(k)."""
    return ive(NU + 1, k) / ive(NU, k)


def unit(*shape, seed=0):
    return nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1
    )


def test_ratios_of_normalisers_and_their_gradients_are_scipys():
    k, j = (torch.from_numpy(x.ravel()) for x in np.meshgrid(KAPPAS[2:], KAPPAS[2:]))
    added = (j**2 - k**2).requires_grad_()
    found = log_normaliser_ratio(k**2, added, dimensions=128)
    found.sum().backward()
    expected = log_normaliser(k.numpy()) - log_normaliser(j.numpy())
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(added.grad, bessel_ratio(j.numpy()) / (2 * j.numpy()), rtol=1e-6)


def test_near_zero_a_normaliser_is_that_of_the_uniform_distribution():
    # I_nu(k) is (k/2)^nu (1 + (k/2)^2 / (nu + 1) + ..) / gamma(nu + 1), so log C falls by k^2 / (4 (nu + 1)).
    for k in (0.0, 1e-3, 0.1, 1.0):
        square = torch.tensor(k * k, dtype=torch.float64)
        found = float(log_normaliser_ratio(torch.zeros_like(square), square, dimensions=128))
        assert found == pytest.approx(k * k / 256, rel=2e-4, abs=1e-12)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_logits_and_their_gradients_are_the_papers(dtype, off):
    means = unit(5, 128) * torch.tensor([0.02, 0.2, 0.5, 0.9, 0.99])[:, None]
    z = (0.6 * unit(9, 128, seed=1) + means[torch.arange(9) % 5]).double()
    z = nn.functional.normalize(z, dim=1)
    given = z.to(dtype).clone().requires_grad_()
    found = vmf_logits(given, means.to(dtype))
    found[:, 1].sum().backward()
    length = np.linalg.norm(means, axis=1)
    parameter = (128 * length / (1 - length**2) / length)[:, None] * means.numpy()
    moved = parameter[None] + 10 * z.numpy()[:, None]
    kappa, other = np.linalg.norm(parameter, axis=1), np.linalg.norm(moved, axis=2)
    np.testing.assert_allclose(found.detach(), log_normaliser(kappa) - log_normaliser(other), atol=off)
    # In the gradient z is free; the projection onto the sphere is normalize's. Along z itself only ||z|| = 1 was used.
    free = bessel_ratio(other[:, 1])[:, None] * 10 * moved[:, 1] / other[:, 1, None]
    across = np.eye(128) - z.numpy()[:, :, None] * z.numpy()[:, None, :]
    for mine, theirs, plane in zip(given.grad.double().numpy(), free, across, strict=True):
        np.testing.assert_allclose(plane @ mine, plane @ theirs, atol=off)


def test_a_class_without_concentration_leaves_the_prior_and_a_point_is_bounded():
    z = unit(4, 128).float().requires_grad_()
    uniform = vmf_logits(z, torch.zeros(3, 128))
    assert torch.equal(uniform, uniform[:1, :1].expand(4, 3))
    small = vmf_logits(z, 1e-6 * unit(3, 128, seed=2).float())
    torch.testing.assert_close(small, uniform, atol=1e-4, rtol=0)
    points = vmf_logits(z, unit(3, 128, seed=2).float())
    points.sum().backward()
    torch.testing.assert_close(points, 10 * z @ unit(3, 128, seed=2).float().T, atol=0.01, rtol=0)
    assert z.grad.isfinite().all()


def weighted_means(steps):
    """The direct form: features and weights of every step, later ones counting more."""
    factor = [KEPT ** (len(steps) - 1 - i) for i in range(len(steps))]
    total = sum(f * w.T @ z for f, (z, w) in zip(factor, steps, strict=True))
    return total / sum(f * w.sum(0) for f, (z, w) in zip(factor, steps, strict=True))[:, None]


def test_statistics_are_the_weighted_mean_of_what_was_seen_and_absent_classes_keep_theirs():
    torch.manual_seed(0)
    head, steps = VMFHead(6, 3), []
    for i in range(7):
        logits = head(torch.randn(8, 6))
        assert logits.shape == (8, 6)
        weights = torch.rand(8, 3) * (torch.tensor([1.0, 1.0, 0.0]) if i > 2 else 1)
        steps.append((head._seen.double().numpy(), weights.double().numpy()))
        head.take_in(weights)
    np.testing.assert_allclose(head.means, weighted_means(steps), rtol=1e-4, atol=1e-6)
    assert not head.means.requires_grad
    kept = head.means.clone()
    head.forget()
    assert torch.equal(head.means, kept)
    with torch.autocast("cpu", torch.bfloat16):
        head(torch.randn(8, 6))
        weights = torch.eye(3)[torch.arange(8) % 2]
        head.take_in(weights)
    assert torch.equal(head.means[2], kept[2])
    expected = (weights.T @ head._seen)[:2] / 4
    torch.testing.assert_close(head.means[:2], expected)


def test_in_evaluation_the_logits_are_the_sum_of_the_kinds_and_nothing_moves():
    head = VMFHead(6, 3)
    head.means.copy_(0.8 * unit(3, 128).float())
    x = torch.randn(8, 6)
    for norm in (module for module in head.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.momentum = 1.0
    linear, vmf = head(x).split(3, dim=1)
    torch.testing.assert_close(linear, head.linear(x))
    head.eval().project[1].running_var *= 7 / 8  # the batch's own variance, biased
    torch.testing.assert_close(head(x), linear + vmf, atol=1e-4, rtol=1e-4)


def options_for(**given):
    return resolve(ClassifierOptions, {"steps": 6, "batch_size": 16, "loss": "proco", **given}, image_side=8)


def learning(**given):
    torch.manual_seed(0)
    options = options_for(**given)
    (phase,), pool = phases_of(TRAIN, MADE, options, seed=0), make_pool(TRAIN, MADE, device=CPU.device)
    network = build_model("resnet8", num_classes=3, image_shape=(1, 8, 8), head="vmf")
    learner = build_learner(network, phase, pool, CPU, teachers=[teacher()] if "distill" in given else [])
    return learner, batches_of(phase.plan, pool, build_augmentation(options), 0, 6)


def test_the_loss_is_the_sum_of_two_adjusted_cross_entropies_each_image_with_its_own_sources_prior():
    learner, batches = learning()
    for batch in batches:
        logits = learner.network(batch.images).detach()
        prior = torch.tensor([[40.0, 12, 4], [0, 20, 30]]).log()[batch.sources]
        expected = sum(nn.functional.cross_entropy(kind + prior, batch.labels) for kind in logits.split(3, dim=1))
        assert float(learner.learn(batch)) == pytest.approx(float(expected), rel=1e-5)


def test_teachers_are_compared_with_the_sum_of_the_kinds():
    learner, batches = learning(distill="all", distill_weight=1.0)
    batch, soft = next(batches), torch.rand(16, 3).softmax(1)
    logits = learner.network(batch.images).detach()
    expected = distillation(logits[:, :3] + logits[:, 3:], soft, temperature=2.0).mean()
    assert float(learner._value(logits, soft, batch)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("given", [{}, {"augment": "mixup"}, {"synthetic_weight": 0.3}], ids=str)
def test_an_image_counts_in_the_means_as_in_the_loss(given):
    learner, batches = learning(**given)
    batch = next(batches)
    learner.learn(batch)
    labels, sources = (
        part if part.ndim == 2 else nn.functional.one_hot(part, size).float()
        for part, size in ((batch.labels, 3), (batch.sources, 2))
    )
    of_source = torch.tensor([1.0, given.get("synthetic_weight", 1.0)])
    weights = labels * (sources @ of_source)[:, None]
    expected = weights.T @ learner.head._seen / weights.sum(0)[:, None]
    torch.testing.assert_close(learner.head.means, expected, atol=1e-5, rtol=1e-4)


def test_sam_moves_the_statistics_once_a_step_with_the_features_of_the_first_pass():
    after = []
    for rho in (0.0, 0.5):
        learner, batches = learning(sam_rho=rho)
        learner.learn(next(batches))
        after.append(learner.head)
    assert torch.equal(after[0].means, after[1].means)
    assert torch.equal(after[0].counts, after[1].counts)
    assert not torch.equal(after[0].linear.weight, after[1].linear.weight)
    assert after[1].track_running_stats


def test_averaged_weights_get_statistics_of_their_own():
    learner, batches = learning()
    network, head = learner.network, learner.head
    held = list(batches)
    for batch in held:
        learner.learn(batch)
    average = Average(network, lambda taken: 1.0)
    steps = []
    for p in average.weights:
        p.mul_(0.5)
    with torch.no_grad():
        kept = [p.detach().clone() for p in network.parameters()]
        torch._foreach_copy_(list(network.parameters()), average.weights)
        for batch in held:
            network.train()(batch.images)
            steps.append((head._seen.double().numpy(), nn.functional.one_hot(batch.labels, 3).double().numpy()))
        torch._foreach_copy_(list(network.parameters()), kept)
    average.settle(learner.passed(held))
    np.testing.assert_allclose(head.means, weighted_means(steps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"average": "ema", "sam_rho": 0.1}, {"refit": "head", "refit_share": 0.5}], ids=str)
def test_a_fit_goes_on_from_its_checkpoint_bit_for_bit(given, tmp_path):
    def stop(step, total, values):
        if step == 9:
            raise KeyboardInterrupt

    given = {"loss": "proco", "augment": "shift+mixup", "synthetic": MADE, "steps": 12, **given}
    with pytest.raises(KeyboardInterrupt):
        fit(**given, checkpoints=tmp_path, checkpoint_every=4, on_step=stop)
    assert same_weights(fit(**given), fit(**given, checkpoints=tmp_path, checkpoint_every=4))


@pytest.mark.parametrize("part", ["head", "last", "all"])
@pytest.mark.parametrize("loss", ["ce", "logit-adjusted", "proco"])
def test_a_second_stage_trains_both_kinds_with_its_own_loss_and_its_statistics_follow(part, loss):
    given = {"loss": "proco", "schedule": "step", "warmup": 0.0}
    before, after = fit(steps=6, **given), fit(steps=12, **given, refit=part, refit_share=0.5, refit_loss=loss)
    trained = {id(p) for module in part_of(after, part) for p in module.parameters()}
    for (name, mine), other in zip(after.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(mine, other) == (id(mine) not in trained), name
    assert not torch.equal(after.fc.means, before.fc.means)


@pytest.mark.parametrize("augment", ["shift", "mixup"])
@pytest.mark.parametrize("given", [{}, {"sam_rho": 0.2, "average": "swa"}], ids=str)
def test_captured_steps_are_the_same_steps(augment, given, played):  # noqa: F811
    losses, network = fit_told(CAPTURED, loss="proco", augment=augment, **given)
    reference, plain = fit_told(CPU, loss="proco", augment=augment, **given)
    assert losses == pytest.approx(reference, rel=1e-3)
    for mine, theirs in zip(network.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    assert len(played) == 1


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_compiled_steps_are_the_same_steps():
    losses, network = fit_told(dataclasses.replace(CPU, compiled=True), loss="proco", sam_rho=0.1, steps=4)
    reference, plain = fit_told(CPU, loss="proco", sam_rho=0.1, steps=4)
    assert losses == pytest.approx(reference, rel=1e-3)
    torch.testing.assert_close(network.fc.means, plain.fc.means, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("model", "scale"), [("resnet8", 1), ("vit_tiny_patch16_224", 4)])
def test_a_weights_file_holds_the_statistics_and_features_are_what_the_head_takes(model, scale, tmp_path):
    train = dataclasses.replace(TRAIN, images=TRAIN.images.repeat(scale, axis=2).repeat(scale, axis=3))
    found, _ = fit_classifier(train, options_for(model=model, steps=2), seed=0, runtime=CPU)
    save_weights(tmp_path / "w", found, name=model, head="vmf", train=train)
    loaded, _, _ = load_weights(tmp_path / "w")
    assert loaded.get_classifier().means.any()
    assert np.array_equal(probabilities(loaded, train.images, runtime=CPU), probabilities(found, train.images, runtime=CPU))
    x = torch.randn(2, *train.image_shape)
    torch.testing.assert_close(loaded.get_classifier()(penultimate(loaded, x)), loaded(x))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tau_norm": 0.5}, "--tau-norm 0.5 does not go with --loss proco"),
        ({"loss": "ce", "refit": "head", "refit_loss": "proco"}, "--refit-loss proco needs a vmf head"),
        ({"batch_size": 1}, "--batch-size is 1"),
    ],
)
def test_what_does_not_go_together_is_refused(given, said):
    with pytest.raises(OptionError, match=said):
        options_for(**given)


def test_it_learns():
    network, _ = fit_classifier(TRAIN, options_for(steps=60), seed=0, runtime=CPU)
    assert (probabilities(network, TRAIN.images, runtime=CPU).argmax(1) == TRAIN.labels).mean() > 0.9
    assert math.isfinite(float(network.fc.means.norm()))
