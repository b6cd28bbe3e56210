"""CORAL against hand-computed contrast and the published strengths (METHODS: CORAL)."""

import math

import pytest
import torch

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives.coral import CORAL, supervised_contrast
from ltaug.generator.objectives.terms import Batch, Objective, plain_target
from ltaug.generator.preconditioning import VP

NULL = 9
# Unit vectors: 0 and 1 of class 0 at 60 degrees, 2 of class 1 opposite to 0, 3 alone.
Z = torch.tensor([[1, 0], [0.5, math.sqrt(0.75)], [-1, 0], [0, 1]], dtype=torch.float64)


def batch_of(classes, *, time, labels=None):
    classes = torch.tensor(classes)
    images = torch.zeros(len(classes), 1, 1, 1)
    time = torch.tensor(time)
    labels = classes if labels is None else torch.tensor(labels)
    return Batch(images, images, torch.ones(len(classes)), time, labels, classes, torch.ones(len(classes)))


def features(z):
    return Denoised(torch.zeros(len(z), 1, 1, 1), torch.zeros(len(z), 1, 1, 1), z.float()[:, :, None, None].requires_grad_())


def identity_head(coral):
    """A head that hands the two features through, so that z is known."""
    with torch.no_grad():
        coral.head.weight.zero_()
        coral.head.bias.zero_()
        coral.head.weight[0, 0] = coral.head.weight[1, 1] = 1
    return coral


def values_of(coral, own, batch):
    return coral.compare(coral.represent(own), batch)


def by_hand(anchor, positives, others, temperature):
    logits = {j: float(Z[anchor] @ Z[j]) / temperature for j in others}
    log_total = math.log(sum(math.exp(v) for v in logits.values()))
    return -sum(logits[j] - log_total for j in positives) / len(positives)


def test_the_contrast_is_the_one_computed_by_hand():
    loss, valid = supervised_contrast(Z, torch.tensor([0, 0, 1, 0]), temperature=0.5)
    assert valid.tolist() == [True, True, False, True]
    # Anchor 0: similarities .5, -1, 0 over .5 with positives 1 and 3.
    total = math.log(math.exp(1) + math.exp(-2) + 1)
    assert loss[0].item() == pytest.approx(-((1 - total) + (0 - total)) / 2)
    assert loss[1].item() == pytest.approx(by_hand(1, [0, 3], [0, 2, 3], 0.5))
    assert loss[2].item() == 0
    assert loss[3].item() == pytest.approx(by_hand(3, [0, 1], [0, 1, 2], 0.5))


def test_an_image_taken_out_is_no_anchor_no_positive_and_no_negative():
    loss, valid = supervised_contrast(Z, torch.tensor([0, 0, -1, -1]), temperature=0.5)
    assert valid.tolist() == [True, True, False, False]
    assert loss.tolist() == [0, 0, 0, 0]  # each other's only company: log-softmax over one


@pytest.mark.parametrize(("decay", "expected"), [(0.3, 8.12301), (0.8, 1.99352), (1.0, 1.71914)])
def test_the_mean_strength_over_the_steps_is_the_published_one(decay, expected):
    coral = CORAL(torch.ones(1), 2, weight=1.0, decay=decay, temperature=1.0)
    batch = batch_of([0] * 1000, time=[t / VP.T for t in range(1000)])
    z = torch.ones(1000, 2)  # all alike: every anchor's loss is log(999)
    value = values_of(coral, features(z), batch).mean().item()
    assert value / math.log(999) == pytest.approx(expected, rel=1e-5)


def test_the_mean_of_the_values_is_the_mean_over_anchors_that_have_a_positive():
    batch = batch_of([0, 0, 1, 0], time=[0.0, 0.5, 0.25, 0.75])
    coral = identity_head(CORAL(torch.ones(1), 2, weight=0.1, temperature=0.5, decay=0.8))
    values = values_of(coral, features(Z), batch)
    loss, _ = supervised_contrast(Z, batch.classes, temperature=0.5)
    strength = [0.1 * math.exp((1 - t) / 0.8) for t in batch.time.tolist()]
    assert values[2].item() == 0
    expected = sum(s * v for s, v in zip(strength, loss.tolist(), strict=True)) / 3
    assert values.mean().item() == pytest.approx(expected, rel=1e-6)


def test_the_released_mode_takes_the_mean_strength_and_the_temperature_once_more():
    batch = batch_of([0, 0, 1, 0], time=[0.0, 0.5, 0.25, 0.75])
    coral = identity_head(CORAL(torch.ones(1), 2, weight=0.1, temperature=0.5, decay=0.8, mode="released"))
    loss, valid = supervised_contrast(Z, batch.classes, temperature=0.5)
    mean_strength = sum(0.1 * math.exp((1 - t) / 0.8) for t in batch.time.tolist()) / 4
    expected = mean_strength * loss[valid].mean().item() * 0.5
    assert values_of(coral, features(Z), batch).mean().item() == pytest.approx(expected, rel=1e-6)


def test_images_without_their_label_take_no_part():
    whole = values_of(identity_head(CORAL(torch.ones(1), 2)), features(Z[:2]), batch_of([0, 0], time=[0.1, 0.2])).mean()
    batch = batch_of([0, 0, 0, 1], time=[0.1, 0.2, 0.3, 0.4], labels=[0, 0, NULL, NULL])
    values = values_of(identity_head(CORAL(torch.ones(1), 2)), features(Z), batch)
    assert values[2:].tolist() == [0, 0]
    assert values.mean().item() == pytest.approx(whole.item())


@pytest.mark.parametrize(("classes", "labels"), [([0, 1, 2, 3], None), ([0], None), ([0, 0], [NULL, NULL])])
def test_a_batch_without_any_positive_gives_zero_and_no_gradient(classes, labels):
    given = features(Z[: len(classes)])
    coral = CORAL(torch.ones(1), 2)
    values = values_of(coral, given, batch_of(classes, time=[0.5] * len(classes), labels=labels))
    assert values.tolist() == [0] * len(classes)
    values.mean().backward()
    assert coral.head.weight.grad.abs().max().item() == 0
    assert given.features.grad.abs().max().item() == 0


def test_it_asks_for_no_further_pass_and_reaches_the_bottleneck_and_the_head():
    batch = batch_of([0, 0, 1, 1], time=[0.1] * 4)
    coral = CORAL(torch.ones(1), 2)
    assert Objective(plain_target, {"coral": coral}).draw(batch).given == {"coral": None}
    given = features(Z)
    values_of(coral, given, batch).mean().backward()
    assert given.features.grad.abs().max() > 0
    assert coral.head.weight.grad.abs().max() > 0
