"""Losses: hand values, the identities between them, and priors by source."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltaug.classifier.losses import adjustment, build_loss, deferred_weights
from ltaug.errors import OptionError
from ltaug.fields import option, resolve
from ltaug.methods import LOSSES
from ltaug.options import ClassifierOptions

COUNTS = torch.tensor([[90, 9, 1], [0, 30, 70]])


def adjusted(tau):
    return ClassifierOptions(loss="logit-adjusted", adjust_tau=tau)


def batch(n=32):
    generator = torch.Generator().manual_seed(0)
    sources = torch.randint(2, (n,), generator=generator)
    labels = torch.where(
        sources == 1, torch.randint(1, 3, (n,), generator=generator), torch.randint(3, (n,), generator=generator)
    )
    return torch.randn(n, 3, generator=generator, dtype=torch.float64), labels, sources


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_finite_per_image_and_so_is_its_gradient_where_a_source_lacks_a_class(name):
    logits, labels, sources = batch()
    logits.requires_grad_()
    losses = build_loss(ClassifierOptions(loss=name), class_counts=COUNTS)(logits, labels, sources)
    losses.sum().backward()
    assert losses.shape == (32,)
    assert losses.isfinite().all()
    assert (losses >= 0).all()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_logit_adjustment_has_its_value_by_hand():
    # Logits 0: the loss is -log p(y). With tau 2: p^2 normalised.
    loss = build_loss(adjusted(1.0), class_counts=torch.tensor([[3, 1]]))
    values = loss(torch.zeros(2, 2), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(values, torch.tensor([-math.log(0.75), -math.log(0.25)]))
    loss = build_loss(adjusted(2.0), class_counts=torch.tensor([[3, 1]]))
    values = loss(torch.zeros(2, 2), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(values, torch.tensor([-math.log(0.9), -math.log(0.1)]))


def test_the_loss_of_a_mixed_image_has_its_value_by_hand():
    # Logits 0: the loss is -sum_y w_y log p(y), with p the mixture of the priors (3/4, 1/4) and (1/4, 3/4), to the power tau.
    labels, sources = torch.tensor([[0.25, 0.75], [0.25, 0.75]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    counts = torch.tensor([[3, 1], [10, 30]])
    values = build_loss(adjusted(1.0), class_counts=counts)(torch.zeros(2, 2), labels, sources)
    torch.testing.assert_close(values, torch.tensor([-0.25 * math.log(0.75) - 0.75 * math.log(0.25), -math.log(0.5)]))
    sources = torch.tensor([[1.0, 0.0], [0.8, 0.2]])  # the second image's prior: (0.65, 0.35)
    values = build_loss(adjusted(2.0), class_counts=counts)(torch.zeros(2, 2), labels, sources)
    p = 0.65**2 / (0.65**2 + 0.35**2)
    by_hand = [-0.25 * math.log(0.9) - 0.75 * math.log(0.1), -0.25 * math.log(p) - 0.75 * math.log(1 - p)]
    torch.testing.assert_close(values, torch.tensor(by_hand))
    plain = build_loss(ClassifierOptions(), class_counts=counts)(torch.tensor([[1.0, 2.0]]), labels[:1], sources[:1])
    torch.testing.assert_close(plain, torch.tensor([math.log(math.e + math.e**2) - 0.25 * 1 - 0.75 * 2]))


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("name", LOSSES)
def test_hard_labels_as_weights_give_the_loss_and_the_gradient_of_indices(name, tau):
    found = []
    for as_weights in (False, True):
        logits, labels, sources = batch()
        logits.requires_grad_()
        if as_weights:
            labels, sources = F.one_hot(labels, 3).float(), F.one_hot(sources, 2).float()
        losses = build_loss(ClassifierOptions(loss=name, adjust_tau=tau), class_counts=COUNTS)(logits, labels, sources)
        losses.sum().backward()
        found.append((losses, logits.grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)


def test_a_class_that_one_source_lacks_is_not_excluded_for_an_image_mixed_with_the_other():
    labels = torch.tensor([[0.0, 0.3, 0.7], [0.0, 0.3, 0.7]])
    logits = torch.zeros(2, 3, requires_grad=True)
    losses = build_loss(adjusted(1.0), class_counts=COUNTS)(logits, labels, torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    losses.sum().backward()
    assert losses.isfinite().all()
    prior = torch.tensor([[0.0, 0.3, 0.7], [0.45, 0.195, 0.355]])
    torch.testing.assert_close(logits.grad, prior - labels)


def test_without_synthetic_images_their_source_has_no_part_in_the_prior():
    counts = torch.tensor([[3, 1], [0, 0]])
    values = build_loss(adjusted(1.0), class_counts=counts)(
        torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    )
    torch.testing.assert_close(values, torch.tensor([-math.log(0.25)]))


def test_balanced_softmax_adds_the_log_of_the_counts_and_is_logit_adjustment_at_tau_1():
    logits, labels, sources = batch()
    own = build_loss(ClassifierOptions(loss="balanced-softmax"), class_counts=COUNTS)(logits, labels, sources)
    other = build_loss(adjusted(1.0), class_counts=COUNTS)(logits, labels, sources)
    torch.testing.assert_close(own, other)
    weighted = COUNTS[sources] * logits.exp()  # eq. 3: n_y exp(z_y) / sum_i n_i exp(z_i)
    direct = -(weighted.gather(1, labels[:, None])[:, 0] / weighted.sum(1)).log()
    torch.testing.assert_close(own, direct, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("counts", "tau"), [(torch.ones(2, 3), 1.0), (torch.full((2, 3), 40), 2.0), (COUNTS, 0.0)])
def test_a_uniform_prior_or_no_strength_is_plain_cross_entropy(counts, tau):
    logits, labels, sources = batch()
    torch.testing.assert_close(
        build_loss(adjusted(tau), class_counts=counts)(logits, labels, sources),
        F.cross_entropy(logits, labels, reduction="none"),
        atol=1e-6,
        rtol=1e-6,
    )


def test_a_class_a_source_lacks_is_excluded_for_its_images_only():
    logits, labels, sources = batch()
    logits.requires_grad_()
    build_loss(adjusted(1.0), class_counts=COUNTS)(logits, labels, sources).sum().backward()
    assert (logits.grad[sources == 1, 0] == 0).all()
    assert (logits.grad[sources == 0, 0] != 0).all()
    assert adjustment(COUNTS, tau=1.0)[1, 0] == -math.inf


def test_the_gradient_is_the_adjusted_softmax_minus_the_label():
    logits, labels, sources = batch()
    logits.requires_grad_()
    build_loss(adjusted(1.0), class_counts=COUNTS)(logits, labels, sources).sum().backward()
    weighted = COUNTS[sources] * logits.detach().exp()
    expected = weighted / weighted.sum(1, keepdim=True) - F.one_hot(labels, 3)
    torch.testing.assert_close(logits.grad, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
def test_ldam_and_its_gradient_are_those_of_numpy(margin):
    logits, labels, sources = batch()
    logits = (20 * logits).requires_grad_()
    losses = build_loss(ClassifierOptions(loss="ldam", ldam_margin=margin), class_counts=COUNTS)(logits, labels, sources)
    losses.sum().backward()
    n = np.array([90, 39, 71])
    z, y, rows = logits.detach().numpy().copy(), labels.numpy(), np.arange(32)
    z[rows, y] -= 30 * margin * (39 / n[y]) ** 0.25  # the rarest class of the merged set has the whole margin
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_allclose(losses.detach(), -np.log(p[rows, y]), rtol=1e-6, atol=1e-12)
    p[rows, y] -= 1
    np.testing.assert_allclose(logits.grad, p, atol=1e-6)


def test_ldam_of_a_mixed_image_is_the_mixture_of_its_classes_losses_and_exact_where_a_cosine_is_close_to_one():
    loss = build_loss(ClassifierOptions(loss="ldam"), class_counts=torch.tensor([[16, 1], [0, 0]]))
    logits, real = torch.tensor([[-3.0, 29.0]]), torch.tensor([0])
    first, second = (float(loss(logits, torch.tensor([k]), real)) for k in (0, 1))
    assert second == pytest.approx(math.log1p(math.exp(-3 - (29 - 15))), rel=1e-5)  # n_min: 30 * .5
    assert first == pytest.approx(29 - (-3 - 7.5), rel=1e-5)  # 16 times as many: half of it
    mixed = loss(logits, torch.tensor([[0.25, 0.75]]), torch.tensor([[0.5, 0.5]]))
    assert float(mixed) == pytest.approx(0.25 * first + 0.75 * second, rel=1e-6)


@pytest.mark.parametrize("drawn", [[900, 90, 9, 0], [1, 1, 1, 0]])
def test_deferred_weights_are_those_of_effective_numbers_with_mean_1_over_the_draws(drawn):
    counts = torch.tensor([9000, 900, 90, 0])
    found = deferred_weights(counts, drawn=torch.tensor(drawn)).double().numpy()
    expected = (1 - 0.9999) / (1 - 0.9999 ** np.array([9000, 900, 90]))
    np.testing.assert_allclose(found[:3] / found[0], expected / expected[0], rtol=1e-6)
    assert (found * drawn).sum() / sum(drawn) == pytest.approx(1, rel=1e-6)
    assert np.isfinite(found).all()


def test_an_unknown_loss_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match="did you mean 'logit-adjusted'"):
        build_loss(ClassifierOptions(loss="logit-adjust"), class_counts=COUNTS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithFocal(ClassifierOptions):
    focal_power: float = option(2.0, "focal: its exponent", low=0, owner={"loss": ("focal",)})


def test_a_loss_gets_its_own_options_and_no_others(monkeypatch):
    got = []
    monkeypatch.setitem(LOSSES.entries, "focal", lambda class_counts, **given: got.append(given))
    for name in ("logit-adjusted", "balanced-softmax", "ce"):
        monkeypatch.setitem(LOSSES.entries, name, LOSSES["focal"])
    for name, given in {
        "focal": {"focal_power": 3},
        "logit-adjusted": {"adjust_tau": 5},
        "balanced-softmax": {},
        "ce": {},
    }.items():
        build_loss(resolve(WithFocal, {"loss": name, **given}, image_side=32), class_counts=COUNTS)
    assert got == [{"power": 3.0}, {"adjust_tau": 5.0}, {}, {}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "balanced-softmax", "adjust-tau": 5}, r"--adjust-tau 5.0 is read only with --loss logit-adjusted \(it is bal"),
        ({"adjust-tau": 5}, r"--adjust-tau 5.0 is read only with --loss logit-adjusted \(it is ce\)"),
        ({"loss": "logit-adjusted", "focal-power": 3}, "--focal-power 3.0 is read only with --loss focal"),
    ],
)
def test_an_option_of_another_loss_is_refused(given, said):
    with pytest.raises(OptionError, match=said):
        resolve(WithFocal, given, image_side=32)
