"""CBDM with several draws and its cheaper forms: the same expectation as the plain form, over fewer or more passes."""

import dataclasses

import pytest
import torch

from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives import make_objective
from ltaug.generator.objectives.cbdm import CBDM, PAIR_FORMS
from ltaug.generator.objectives.terms import Batch
from ltaug.options import GeneratorOptions

COUNTS = torch.tensor([6, 3, 1])
NULL = 3
COPIES = 20_000  # of every image, so that one call makes that many independent draws
TIME = [0.1, 0.5, 0.9, 0.7]
LABELS = [0, 1, 2, NULL]
WEIGHT = [1.0, 2.0, 0.5, 1.0]


def batch_of(copies):
    def many(values, dtype=torch.float64):
        return torch.tensor(values, dtype=dtype).repeat(copies)

    x0 = torch.tensor([0.3, -0.2, 0.8, 0.1], dtype=torch.float64).repeat(copies).view(-1, 1, 1, 1)
    labels = many(LABELS, torch.long)
    zeros = torch.zeros_like(x0)
    return Batch(x0, zeros, many([1.0] * 4), many(TIME), labels, labels.clamp_max(2), many(WEIGHT))


def network(x, sigma, labels):
    """A fixed function of image and label."""
    eps = (x + 0.7 * labels.view(-1, 1, 1, 1)).requires_grad_()
    return Denoised(x - eps, eps, eps)


def exact():
    """E of every image's term: w (1 + gamma) sum_y q(y) (h - h_y)^2."""
    q = COUNTS.double() / COUNTS.sum()
    own = torch.tensor(LABELS).double()
    pull = (q * (0.7 * (own[:, None] - torch.arange(3).double())).square()).sum(1)
    labelled = torch.tensor([1.0, 1, 1, 0])
    return 1.25 * torch.tensor(TIME, dtype=torch.float64) * torch.tensor(WEIGHT) * labelled * pull


FORMS = [
    {},
    {"draws": 3},
    {"pair_form": "sampled"},
    {"pair_fraction": 0.3},
    {"pair_form": "sampled", "pair_fraction": 0.5, "draws": 2},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_has_the_expectation_of_the_papers(form):
    torch.manual_seed(0)
    objective = make_objective(GeneratorOptions(objective="cbdm", **form), class_counts=COUNTS, feature_channels=1)
    values = objective(network, batch_of(COPIES)).terms["cbdm"].detach().view(COPIES, 4)
    error = values.std(0) / COPIES**0.5
    assert ((values.mean(0) - exact()).abs() <= 4 * error).all()
    assert (values[:, 3] == 0).all()  # trained without its label


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_forms_gradients_have_the_expectation_of_the_papers_in_both_directions(form):
    torch.manual_seed(0)
    cbdm, batch = CBDM(COUNTS, **form), batch_of(COPIES)
    own = network(batch.x0, batch.sigma, batch.labels)
    given = cbdm.conditioning(batch)
    rows = torch.arange(len(batch.labels)) if given.rows is None else given.rows
    other = network(batch.x0[rows], batch.sigma[rows], given.labels)
    cbdm(own, other, batch, given).sum().backward()
    q = COUNTS.double() / COUNTS.sum()
    gap = 0.7 * (torch.tensor(LABELS).double() - (q * torch.arange(3)).sum())
    expected = 2 * torch.tensor(TIME, dtype=torch.float64) * torch.tensor(WEIGHT) * torch.tensor([1.0, 1, 1, 0]) * gap
    mine = own.eps.grad.view(COPIES, 4)
    theirs = torch.zeros(len(batch.labels), dtype=torch.float64).index_add(0, rows, other.eps.grad.flatten()).view(COPIES, 4)
    for found, wanted in ((mine, expected), (theirs, -0.25 * expected)):
        assert ((found.mean(0) - wanted).abs() <= 4 * found.std(0) / COPIES**0.5 + 1e-12).all()


@pytest.mark.parametrize(
    ("form", "passes"),
    [
        ({}, 4.0),
        ({"draws": 3}, 12.0),
        ({"pair_form": "sampled"}, 2.2),  # the sum of t/T
        ({"pair_fraction": 0.5}, 2.0),
        ({"pair_form": "sampled", "pair_fraction": 0.5, "draws": 2}, 2.2),
    ],
    ids=str,
)
def test_a_form_costs_as_many_second_passes_as_it_says(form, passes):
    torch.manual_seed(0)
    given = CBDM(COUNTS, **form).conditioning(batch_of(COPIES))
    assert len(given.labels) / COPIES == pytest.approx(passes, rel=0.02)
    assert given.rows is None or len(given.rows) == len(given.labels)


def test_several_draws_are_averaged():
    batch = batch_of(1)
    cbdm = CBDM(COUNTS, draws=2)
    own = network(batch.x0, batch.sigma, batch.labels)
    given = dataclasses.replace(cbdm.conditioning(batch), labels=torch.tensor([0, 1, 2, 0, 2, 2, 2, 0]))
    assert given.rows.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    other = network(batch.x0[given.rows], batch.sigma[given.rows], given.labels)
    value = cbdm(own, other, batch, given)[0].item()
    assert value == pytest.approx(1.25 * 0.1 * (0 + (0.7 * 2) ** 2) / 2)


def test_a_batch_of_which_nothing_is_paired_makes_one_pass_and_a_term_of_zero():
    batch = dataclasses.replace(batch_of(1), time=torch.zeros(4, dtype=torch.float64))
    objective = make_objective(
        GeneratorOptions(objective="cbdm", **{"pair_form": "sampled"}), class_counts=COUNTS, feature_channels=1
    )
    result = objective(network, batch)
    assert result.terms["cbdm"].tolist() == [0, 0, 0, 0]
    result.loss.mean().backward()


@pytest.mark.parametrize("name", PAIR_FORMS)
def test_every_pair_form_weights_and_samples_to_the_same_product(name):
    time = torch.linspace(0, 1, 11)
    probability, weight = PAIR_FORMS[name](time)
    torch.testing.assert_close(probability * weight, time)
