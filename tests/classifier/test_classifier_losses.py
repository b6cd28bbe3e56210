"""Losses: hand values, the identities between them, and priors by source."""

import math

import pytest
import torch
import torch.nn.functional as F

from ltaug.classifier.losses import adjustment, build_loss
from ltaug.errors import OptionError
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


def test_an_unknown_loss_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match="did you mean 'logit-adjusted'"):
        build_loss(ClassifierOptions(loss="logit-adjust"), class_counts=COUNTS)
