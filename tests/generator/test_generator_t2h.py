"""Oriented calibration against the worked example (METHODS: T2H), its gates, and what reaches the network."""

import pytest
import torch
from torch import nn

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives import make_objective
from ltaug.generator.objectives.t2h import OrientedCalibration, posterior
from ltaug.generator.objectives.terms import Batch
from ltaug.options import GeneratorOptions


def batch_of(x0, eps, *, sigma=1.0, classes=(0, 1), labels=None):
    x0 = torch.tensor(x0, dtype=torch.float64).view(-1, 1, 1, 1)
    classes = torch.tensor(classes)
    return Batch(
        x0=x0,
        eps=torch.tensor(eps, dtype=torch.float64).view(-1, 1, 1, 1),
        sigma=torch.full((len(x0),), sigma, dtype=torch.float64),
        time=torch.full((len(x0),), 0.5, dtype=torch.float64),
        labels=classes if labels is None else torch.tensor(labels),
        classes=classes,
        weight=torch.ones(len(x0), dtype=torch.float64),
    )


EXAMPLE = batch_of([0.0, 1.0], [0.5, 0.0])  # abar = .5, so sigma = 1


def test_the_posterior_is_that_of_the_worked_example():
    expected = torch.tensor([[0.5, 0.5], [0.3775, 0.6225]], dtype=torch.float64)
    torch.testing.assert_close(posterior(EXAMPLE), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.01, 1.0, 157.0])
def test_the_posterior_in_float32_is_the_formula_in_float64(sigma):
    torch.manual_seed(0)
    x0, eps = torch.rand(6, 3, 16, 16).double() * 2 - 1, torch.randn(6, 3, 16, 16).double()
    x0[1] = x0[0] + 1e-3 * torch.randn_like(x0[0])  # a near-copy, so that p is not the identity at small sigma
    s = torch.full((6,), sigma).double()
    c = x0 + sigma * eps
    exact = torch.softmax(-(c[:, None] - x0[None]).square().sum((2, 3, 4)) / (2 * sigma**2), dim=1)
    batch = Batch(x0.float(), eps.float(), s.float(), s, torch.zeros(6).long(), torch.zeros(6).long(), s)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = posterior(batch)
    torch.testing.assert_close(found.double(), exact, atol=2e-3, rtol=0)


def targets_seen(gate, counts, *, labels=None, draws=200):
    torch.manual_seed(0)
    rule = OrientedCalibration(torch.tensor(counts), gate=gate)
    batch = EXAMPLE if labels is None else Batch(**{**vars(EXAMPLE), "labels": torch.tensor(labels)})
    made = torch.stack([rule(batch).flatten() for _ in range(draws)])
    return [sorted(set(column.tolist())) for column in made.T]


OWN = ([0.5], [0.0])  # z = i gives eps back, exactly
MOVED = ([-0.5, 0.5], [0.0, 1.0])  # i=0 with z=1: (0.5 - 1)/1; i=1 with z=0: (1 - 0)/1


@pytest.mark.parametrize(
    ("gate", "counts", "first", "second"),
    [
        ("t2h", [9, 1], OWN, MOVED),  # class 0 is the head: only the tail image may become a head image
        ("t2h", [1, 9], MOVED, OWN),
        ("h2t", [9, 1], MOVED, OWN),
        ("h2t", [1, 9], OWN, MOVED),
        ("full", [9, 1], MOVED, MOVED),
        ("t2h", [4, 4], MOVED, MOVED),  # equal counts pass both gates
        ("h2t", [4, 4], MOVED, MOVED),
    ],
)
def test_each_gate_lets_targets_move_in_its_direction_only(gate, counts, first, second):
    assert targets_seen(gate, counts) == [first[0], second[1]]


def test_images_without_their_label_are_calibrated_by_their_true_class():
    assert targets_seen("t2h", [9, 1], labels=[2, 2]) == targets_seen("t2h", [9, 1])


def test_the_other_image_is_drawn_as_often_as_the_posterior_says():
    torch.manual_seed(0)
    batch = batch_of([0.0, 1.0], [0.5, 0.0])
    rule = OrientedCalibration(torch.tensor([1, 1]), gate="full")
    made = torch.stack([rule(batch).flatten() for _ in range(4000)])
    assert (made[:, 0] == -0.5).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert (made[:, 1] == 1.0).double().mean().item() == pytest.approx(0.3775, abs=0.03)


class Recorder(nn.Module):
    """Remembers what it was asked and answers eps = 0."""

    def forward(self, x, sigma, labels):
        self.seen = (x, sigma, labels)
        eps = torch.zeros_like(x, requires_grad=True)
        return Denoised(x, eps, torch.zeros(len(x), 2, 1, 1))


@pytest.mark.parametrize("name", ["t2h", "t2h+cbdm"])
def test_the_network_still_gets_the_images_own_noise_and_label_and_the_target_no_gradient(name):
    torch.manual_seed(0)
    batch = Batch(**{**vars(EXAMPLE), "x0": EXAMPLE.x0.clone().requires_grad_()})
    network = Recorder()
    result = make_objective(GeneratorOptions(objective=name), class_counts=torch.tensor([1, 9]), feature_channels=2)(
        network, batch
    )
    x, _, labels = network.seen
    torch.testing.assert_close(x[:2], EXAMPLE.x0 + EXAMPLE.eps)
    assert labels[:2].tolist() == [0, 1]
    assert result.terms["denoising"].tolist() in ([0.25, 0.0], [0.25, 1.0])
    assert len(x) == (4 if name == "t2h+cbdm" else 2)  # one pass
    assert not OrientedCalibration(torch.tensor([1, 9]))(batch).requires_grad
