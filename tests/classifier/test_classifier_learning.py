"""SAM, averages of weights, tau-normalisation, deferred weights, and every loss with every augmentation and source."""

import itertools

import numpy as np
import pytest
import torch
from test_classifier_fit import MADE, fit, same_weights
from torch import nn

from ltaug.classifier.averaging import Average, ema, swa
from ltaug.classifier.batches import Batch
from ltaug.classifier.models import HEADS, CosineHead, build_model, normalise_head
from ltaug.classifier.sam import uphill
from ltaug.classifier.step import Learner
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.methods import CLASSIFIER_AUGMENTATIONS, LOSSES, MODELS
from ltaug.options import ClassifierOptions
from ltaug.runtime import make_runtime

CPU = make_runtime("cpu")


def learner_of(network, *, rho, lr=0.1):
    """It minimises half the squared length of the network's output."""
    return Learner(
        network=network,
        forward=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_per_image=lambda logits, labels, sources: 0.5 * logits.square().sum(1),
        weights=torch.ones(2, 3),
        sam_rho=rho,
        teachers=None,
        soft_shares=torch.zeros(2),
        smoothing=None,
        runtime=CPU,
    )


def batch_of(images):
    zeros = torch.zeros(len(images), dtype=torch.long)
    return Batch(images, zeros, zeros, torch.ones(2, 3, dtype=torch.long))


@pytest.mark.parametrize("rho", [0.0, 0.05, 2.0])
def test_a_step_of_sam_on_a_quadratic_is_the_papers(rho):
    torch.manual_seed(0)
    network, x = nn.Linear(4, 3, bias=False), torch.randn(8, 4)
    w, s = network.weight.detach().double().numpy(), (x.T @ x / 8).double().numpy()
    gradient = w @ s
    uphill_of_w = w + rho * gradient / np.linalg.norm(gradient)
    value = learner_of(network, rho=rho).learn(batch_of(x))
    np.testing.assert_allclose(network.weight.detach(), w - 0.1 * uphill_of_w @ s, atol=1e-6)
    assert float(value) == pytest.approx(0.5 * np.trace(w @ s @ w.T), rel=1e-5), "the loss is that of the weights themselves"


def test_sam_updates_batch_norm_once_with_the_statistics_of_the_first_pass():
    x, after = torch.randn(8, 4), {}
    for rho in (0.0, 0.5):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
        learner_of(network, rho=rho).learn(batch_of(x))
        after[rho] = network
    for name, value in after[0.0][1].named_buffers():
        assert torch.equal(value, after[0.5][1].get_buffer(name)), name
    assert not torch.equal(after[0.0][0].weight, after[0.5][0].weight)
    assert after[0.5][1].track_running_stats


def test_uphill_gives_the_weights_back_bit_for_bit_even_if_the_second_pass_fails():
    network = build_model("resnet8", num_classes=3, image_shape=(1, 8, 8))
    before = [value.clone() for value in network.state_dict().values()]
    for p in network.parameters():
        p.grad = torch.randn_like(p)
    kept = [p.detach().clone() for p in network.parameters()]

    def fail():
        moved = [(p.detach() - old).norm() for p, old in zip(network.parameters(), kept, strict=True)]
        raise KeyError(float(torch.stack(moved).norm()))

    with pytest.raises(KeyError) as failed, uphill(network, 0.5):
        fail()
    assert failed.value.args[0] == pytest.approx(0.5, rel=1e-3)
    assert all(torch.equal(mine, other) for mine, other in zip(before, network.state_dict().values(), strict=True))


def test_where_the_gradient_is_zero_sam_stays():
    network = nn.Linear(4, 3)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    learner_of(network, rho=0.5).learn(batch_of(torch.randn(8, 4)))
    assert not network.weight.any()


def averaged(share, values):
    """What an average of one weight is after it had each of these values."""
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, share)
    for taken, value in enumerate(values, 1):
        nn.init.constant_(network.weight, value)
        average.update(taken)
    average.settle([])
    return network.weight.item()


def test_averages_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=20)
    assert averaged(lambda n: swa(n, 20, after=0.75), values) == pytest.approx(values[15:].mean(), rel=1e-5)
    assert averaged(lambda n: swa(n, 20, after=0.0), values) == pytest.approx(values.mean(), rel=1e-5)
    expected = values[:5].mean()
    for value in values[5:]:
        expected = 0.8 * expected + 0.2 * value
    assert averaged(lambda n: ema(n, 20, decay=0.8), values) == pytest.approx(expected, rel=1e-5)
    assert averaged(lambda n: ema(n, 20, decay=0.0), values) == pytest.approx(values[-1])


def test_an_average_gets_batch_norm_statistics_of_its_own():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3)).eval()
    average = Average(network, lambda n: 1 / n)
    weights = [torch.randn(3, 2) for _ in range(2)]
    for taken, weight in enumerate(weights, 1):
        network[0].weight.data.copy_(weight)
        average.update(taken)
    batches = [batch_of(torch.randn(16, 2)) for _ in range(3)]
    average.settle(batches)
    inside = [batch.images.numpy() @ np.mean([w.numpy() for w in weights], 0).T for batch in batches]
    np.testing.assert_allclose(network[1].running_mean, np.mean([x.mean(0) for x in inside], 0), atol=1e-5)
    np.testing.assert_allclose(network[1].running_var, np.mean([x.var(0, ddof=1) for x in inside], 0), rtol=1e-5)
    assert network[1].momentum == 0.1
    assert not network.training


def test_an_average_over_the_last_step_alone_has_its_weights():
    plain, last = fit(steps=8), fit(steps=8, average="swa", swa_after=0.9)
    assert all(torch.equal(mine, other) for mine, other in zip(plain.parameters(), last.parameters(), strict=True))
    assert not torch.equal(plain.norm.running_mean, last.norm.running_mean)


LATE = {"average": "ema", "reweight_from": 0.5, "sam_rho": 0.1, "loss": "ldam", "augment": "cmo", "tau_norm": 0.0}


@pytest.mark.parametrize("stop_at", [5, 9])
@pytest.mark.parametrize("average", ["ema", "swa"])
def test_a_fit_with_a_memory_goes_on_from_its_checkpoint_bit_for_bit(average, stop_at, tmp_path):
    def stop(step, total, values):
        if step == stop_at:
            raise KeyboardInterrupt

    given = {**LATE, "average": average, "steps": 12}
    with pytest.raises(KeyboardInterrupt):
        fit(**given, checkpoints=tmp_path, checkpoint_every=4, on_step=stop)
    assert same_weights(fit(**given), fit(**given, checkpoints=tmp_path, checkpoint_every=4))


def losses_at_rest(**given):
    """The loss of every step of a network that does not move."""
    told = []
    fit(steps=6, lr=0.0, on_step=lambda step, total, values: told.append(values["loss"]), **given)
    return told


def test_real_images_are_weighted_by_class_from_that_share_of_training_on_and_synthetic_ones_never():
    plain, late = losses_at_rest(synthetic=MADE), losses_at_rest(synthetic=MADE, reweight_from=0.5)
    assert late[:3] == plain[:3]
    assert all(a != b for a, b in zip(late[3:], plain[3:], strict=True))
    assert losses_at_rest(reweight_from=0.0)[0] != losses_at_rest()[0]
    made = {"synthetic": MADE, "synthetic_fraction": 1.0}
    assert losses_at_rest(**made, reweight_from=0.0) == losses_at_rest(**made)


def test_tau_normalisation_divides_by_the_norm_to_the_power_tau():
    torch.manual_seed(0)
    for tau in (0.5, 1.0):
        head, x = nn.Linear(6, 4), torch.randn(50, 6)
        w = head.weight.detach().numpy().copy()
        norms = np.linalg.norm(w, axis=1, keepdims=True)
        normalise_head(head, tau=tau)
        direct = x.numpy() @ (w / norms**tau).T
        found = head(x).detach().numpy()
        np.testing.assert_allclose(found / found[0, 0], direct / direct[0, 0], rtol=1e-3)
        assert np.linalg.norm(head.weight.detach(), axis=1).mean() == pytest.approx(norms.mean(), rel=1e-5)
    torch.testing.assert_close(fit(steps=2, tau_norm=1.0).fc.weight.norm(dim=1).std(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_a_cosine_head_gives_thirty_times_the_cosine_whatever_the_lengths():
    torch.manual_seed(0)
    head, x = CosineHead(6, 4), torch.randn(5, 6)
    w, z = head.weight.detach().numpy(), x.numpy()
    cosines = (z @ w.T) / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(head(x).detach(), 30 * cosines, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(head(x).detach(), 30 * cosines, rtol=1e-5, atol=1e-5)
    assert torch.equal(head(x), head(2 * x))


@pytest.mark.parametrize("model", ["resnet8", "vit_tiny_patch16_224"])
def test_a_network_takes_a_cosine_head_in_place_of_its_own(model):
    network = build_model(model, num_classes=3, image_shape=(1, 32, 32), head="cosine")
    assert isinstance(network.get_classifier(), CosineHead)
    assert float(network.eval()(torch.randn(2, 1, 32, 32)).detach().abs().max()) <= 30


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "ldam", "tau_norm": 0.5}, "--tau-norm 0.5 does not go with --loss ldam"),
        ({"ema_decay": 0.9}, "--ema-decay 0.9 is read only with --average ema"),
        ({"average": "ema", "swa_after": 0.5}, "--swa-after 0.5 is read only with --average swa"),
        ({"cutmix_alpha": 0.5, "augment": "mixup"}, r"--cutmix-alpha 0.5 is read only with --augment mixup\+cutmix"),
        ({"ldam_margin": 0.3}, "--ldam-margin 0.3 is read only with --loss ldam"),
        ({"reweight_from": 1.5}, "between 0 and 1"),
        ({"sam_rho": -1.0}, "at least 0"),
    ],
)
def test_what_nothing_reads_or_cannot_be_is_refused_with_the_options(given, said):
    with pytest.raises(OptionError, match=said):
        resolve(ClassifierOptions, given, image_side=8)


class WithoutHead(nn.Module):
    def get_classifier(self):
        return nn.Identity()


@pytest.mark.parametrize("given", [{"loss": "ldam"}, {"tau_norm": 1.0}])
def test_a_network_without_a_linear_head_is_refused_before_it_is_trained(given, monkeypatch):
    monkeypatch.setitem(MODELS.entries, "headless", lambda **kwargs: WithoutHead())
    with pytest.raises(OptionError, match="--model headless ends in Identity"):
        fit(model="headless", **given)


SOURCES = {
    "real alone": {},
    "merged": {"synthetic": MADE},
    "a share": {"synthetic": MADE, "synthetic_fraction": 0.5, "sampling": "balanced"},
    "weighted": {"synthetic": MADE, "synthetic_weight": 0.3},
}
LEARNERS = [{}, {"sam_rho": 0.1}, {"average": "ema"}, {"average": "swa"}, {"reweight_from": 0.5}]


@pytest.mark.parametrize(
    ("loss", "augment", "source", "learner"),
    # Sources and learners take turns, so that every pair of any two of the four kinds occurs, not every combination.
    [
        (loss, augment, list(SOURCES)[(i + j) % len(SOURCES)], LEARNERS[(i + 2 * j) % len(LEARNERS)])
        for (i, loss), (j, augment) in itertools.product(enumerate(LOSSES), enumerate(CLASSIFIER_AUGMENTATIONS))
    ],
    ids=str,
)
def test_every_loss_learns_with_every_augmentation_and_source(loss, augment, source, learner):
    given = {"loss": loss, "augment": augment, **SOURCES[source], **learner}
    found, start = fit(steps=2, **given), fit(steps=1, lr=0.0, **{**given, "average": "none"})
    assert all(value.isfinite().all() for value in found.state_dict().values())
    moved = [not torch.equal(p, q) for p, q in zip(found.parameters(), start.parameters(), strict=True)]
    assert all(moved)
    assert isinstance(found.fc, HEADS[LOSSES.about(loss).head])
