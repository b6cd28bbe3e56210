"""Objectives against hand-computed values and gradients (METHODS: CBDM), and conformance over every name."""

import re

import pytest
import torch
from fake_judge import toy_judged
from torch import nn

from ltaug.errors import OptionError
from ltaug.fields import resolve, settings_of
from ltaug.generator.denoiser import Denoised
from ltaug.generator.objectives import make_objective
from ltaug.generator.objectives.cbdm import CBDM, label_distribution
from ltaug.generator.objectives.terms import Batch, Comparison, Conditioning
from ltaug.methods import REGULARISERS, TARGETS
from ltaug.options import GeneratorOptions

NULL = 9


def as_images(values):
    return torch.tensor(values, dtype=torch.float64)[:, None, None, :]


def denoised(values):
    eps = as_images(values).requires_grad_()
    return Denoised(x0=torch.zeros_like(eps), eps=eps, features=torch.zeros(len(eps), 1, 1, 1))


def batch_of(values, *, time, labels=None, classes=None):
    x0 = torch.zeros_like(as_images(values))
    classes = torch.zeros(len(x0), dtype=torch.long) if classes is None else classes
    labels = classes if labels is None else labels
    return Batch(
        x0=x0,
        eps=torch.zeros_like(x0),
        sigma=torch.ones(len(x0)),
        time=torch.tensor(time, dtype=torch.float64),
        labels=labels,
        classes=classes,
        weight=torch.ones(len(x0), dtype=torch.float64),
    )


class Answers(nn.Module):
    """A denoiser that gives back fixed eps, the own pass first; it also counts its calls."""

    def __init__(self, *parts):
        super().__init__()
        self.parts, self.calls = parts, 0

    def forward(self, x, sigma, labels):
        self.calls += 1
        eps = torch.cat([p.eps for p in self.parts])
        assert len(labels) == len(eps) == len(x) == len(sigma)
        return Denoised(x0=x - eps, eps=eps, features=torch.zeros(len(x), 1, 1, 1))


def objective_of(name, class_counts, *, feature_channels=1, **given):
    options, judged = GeneratorOptions(objective=name, **given), toy_judged((2,), classes=2)
    return make_objective(options, class_counts=class_counts, feature_channels=feature_channels, judged=judged)


def made(name, counts, feature_channels):
    """The regulariser by itself."""
    judged = {"judged": toy_judged((2,), classes=2)} if REGULARISERS.about(name).needs_judges else {}
    return REGULARISERS[name](counts, feature_channels, **judged)


def paper_example():
    own, other = denoised([[1, 2], [3, 4]]), denoised([[0, 2], [1, 1]])
    return own, other, batch_of([[1, 2], [3, 4]], time=[0, 0.5])


def test_cbdm_gives_the_exact_loss_terms_and_gradients_of_the_worked_example():
    own, other, batch = paper_example()
    objective = objective_of("cbdm", torch.tensor([3, 1]), label_set="train")
    network = Answers(own, other)
    result = objective(network, batch)
    assert network.calls == 1  # both conditionings in one forward pass
    assert result.terms["denoising"].mean().item() == 7.5
    assert result.loss.mean().item() == 9.53125
    first = (0.5 * (own.eps - other.eps).square().flatten(1).mean(1))[1] / 2
    assert first.item() == 1.625
    result.loss.mean().backward()
    torch.testing.assert_close(own.eps.grad[1].flatten(), torch.tensor([2.0, 2.75], dtype=torch.float64))
    torch.testing.assert_close(other.eps.grad[1].flatten(), torch.tensor([-0.125, -0.1875], dtype=torch.float64))


def test_cbdm_pulls_both_predictions_in_the_ratio_of_gamma():
    own, other, batch = paper_example()
    CBDM(torch.tensor([1, 1]))(own, other, batch, None).sum().backward()
    torch.testing.assert_close(own.eps.grad, -4 * other.eps.grad)


@pytest.mark.parametrize(("tau", "time"), [(0.0, [0.3, 0.9]), (1.0, [0.0, 0.0])])
def test_cbdm_without_weight_is_ddpm_exactly(tau, time):
    own, other, batch = paper_example()
    batch = Batch(**{**vars(batch), "time": torch.tensor(time, dtype=torch.float64)})
    with_term = objective_of("cbdm", torch.tensor([3, 1]), tau=tau)
    plain = objective_of("ddpm", torch.tensor([3, 1]))
    a, b = with_term(Answers(own, other), batch).loss, plain(Answers(own), batch).loss
    assert torch.equal(a, b)


def test_images_without_their_label_carry_no_balancing_term():
    own, other, batch = paper_example()
    batch = Batch(**{**vars(batch), "labels": torch.tensor([0, NULL])})
    assert CBDM(torch.tensor([1, 1]))(own, other, batch, None)[1].item() == 0


@pytest.mark.parametrize(("label_set", "expected"), [("train", [0.9, 0.1, 0]), ("bal", [0.5, 0.5, 0]), ("sqrt", [0.75, 0.25, 0])])
def test_label_sets_draw_the_other_class_as_named_and_never_an_empty_one(label_set, expected):
    torch.testing.assert_close(label_distribution(torch.tensor([9, 1, 0]), label_set), torch.tensor(expected).double())


def test_the_other_class_is_drawn_once_per_image_from_the_label_set():
    torch.manual_seed(0)
    batch = batch_of([[0, 0]] * 20_000, time=[0.5] * 20_000)
    given = CBDM(torch.tensor([9, 1]), label_set="train").conditioning(batch)
    assert given.rows is None
    assert given.labels.double().mean().item() == pytest.approx(0.1, abs=0.01)


def test_a_regulariser_may_look_at_part_of_the_batch_again_in_the_same_pass():
    seen = {}

    class Part:
        def conditioning(self, batch):
            return Conditioning(torch.tensor([1]), torch.tensor([0]))

        def __call__(self, own, other, batch, given):
            seen["other"] = other.eps.shape
            return torch.zeros(len(batch.labels))

    from ltaug.generator.objectives.terms import Objective

    own, _, batch = paper_example()
    network = Answers(own, denoised([[5, 5]]))
    Objective(TARGETS["ddpm"](torch.tensor([1])), {"part": Part()})(network, batch)
    assert network.calls == 1
    assert seen["other"] == (1, 1, 1, 2)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("cbdn", "cbdm"),
        ("cbdm+cbdm", "twice"),
        ("", "unknown"),
        ("ddpm+", "unknown"),
        ("ddpm+ddpm", "twice"),
        ("t2h+cbdm+h2t", "2 target rules"),
    ],
)
def test_an_objective_that_does_not_exist_is_refused_by_name(name, word):
    with pytest.raises(OptionError, match=word):
        objective_of(name, torch.tensor([1]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"objective": "ddpm", "tau": 2.0}, "--tau 2.0 is read only with --objective ddpm+cbdm (it is ddpm)"),
        ({"objective": "coral", "label_set": "bal"}, "--objective coral+cbdm"),
        ({"objective": "t2h+cbdm", "coral_mode": "released"}, "--coral-mode released is read only with --objective"),
    ],
)
def test_an_option_of_a_method_that_is_not_in_use_is_refused_by_name(given, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        resolve(GeneratorOptions, given, image_side=8)


def test_a_terms_options_become_its_keyword_arguments():
    options = GeneratorOptions(objective="t2h+coral", coral_weight=0.5)
    own = {"weight": 0.5, "temperature": 0.09, "decay": 1.0, "mode": "paper"}
    assert settings_of(options, "objective", "coral") == own
    assert settings_of(options, "objective", "t2h") == {}


@pytest.mark.parametrize("name", REGULARISERS)
def test_the_defaults_of_the_options_are_those_of_the_methods(name):
    counts = torch.tensor([2, 1])
    both = [made(name, counts, 4), objective_of(name, counts, feature_channels=4).regularisers[name]]
    plain, resolved = ({k: v for k, v in vars(m).items() if isinstance(v, int | float | str)} for m in both)
    assert plain == resolved


@pytest.mark.parametrize("name", REGULARISERS)
def test_what_methods_say_of_a_regulariser_is_so(name):
    assert REGULARISERS.about(name).compares == isinstance(made(name, torch.tensor([2, 1]), 4), Comparison)


@pytest.mark.parametrize("name", [name for name in REGULARISERS if not REGULARISERS.about(name).compares])
@pytest.mark.parametrize("given", [{}, {"draws": 3}, {"pair_fraction": 0.5}], ids=str)
def test_the_passes_that_urgency_counts_are_those_a_batch_takes(name, given):
    batch = batch_of([[0.0]] * 40, time=[0.5] * 40)
    options = GeneratorOptions(objective=name, **given)
    conditioning = objective_of(name, torch.tensor([2, 1]), feature_channels=4, **given).draw(batch).given[name]
    passes = 0 if conditioning is None else len(conditioning.labels) / len(batch.labels)
    assert REGULARISERS.about(name).passes(**settings_of(options, "objective", name)) == passes
