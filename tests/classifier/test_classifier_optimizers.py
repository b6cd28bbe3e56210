"""Optimizers: their groups and rates against timm's and torch's own, and who reads their options."""

import pytest
import torch
from test_classifier_fit import CPU, TRAIN, fit, same_weights

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import make_pool
from ltaug.classifier.fit import batches_of
from ltaug.classifier.models import build_model
from ltaug.classifier.optimizers import build_optimizer, set_rate
from ltaug.classifier.phases import build_learner, phases_of
from ltaug.classifier.step import step_taker
from ltaug.errors import OptionError
from ltaug.fields import checked, resolve
from ltaug.methods import OPTIMIZERS
from ltaug.options import ClassifierOptions

HALVES = {"mean": [0.5] * 3, "std": [0.5] * 3}


def options(**given):
    return resolve(ClassifierOptions, given, image_side=8)


def scales(network, optimizer):
    """Each parameter's part of the learning rate, and its weight decay."""
    names = {p: name for name, p in network.named_parameters()}
    return {names[p]: (g.get("lr_scale", 1.0), g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_sgd_takes_all_parameters_in_one_group():
    network = build_model("resnet8", num_classes=3, image_shape=(1, 8, 8))
    optimizer = build_optimizer(network, options())
    (group,) = optimizer.param_groups
    assert group["params"] == list(network.parameters())
    assert (group["lr"], group["weight_decay"], group["momentum"], group["nesterov"]) == (0.05, 5e-4, 0.9, True)


def test_adamw_decays_weights_alone_and_has_defaults_of_its_own():
    network = build_model("test_vit", num_classes=3, image_shape=(3, 32, 32), statistics=HALVES)
    optimizer = build_optimizer(network, options(model="test_vit", optimizer="adamw"))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert all(group["lr"] == 5e-4 for group in optimizer.param_groups)
    found = {name: decay for name, (_, decay) in scales(network, optimizer).items()}
    spared = ("network.cls_token", "network.reg_token", "network.pos_embed")
    assert found == {n: 0.0 if p.ndim < 2 or n in spared else 0.05 for n, p in network.named_parameters()}


@pytest.mark.parametrize(("optimizer", "decays"), [("sgd", {5e-4, 0.0}), ("adamw", {0.05, 0.0})])
def test_with_layer_decay_each_layer_learns_slower_than_the_one_above_it(optimizer, decays):
    network = build_model("test_vit", num_classes=3, image_shape=(3, 32, 32), statistics=HALVES)
    given = options(model="test_vit", optimizer=optimizer, layer_decay=0.5)
    made = build_optimizer(network, given)
    found = scales(network, made)
    assert set(found) == {name for name, _ in network.named_parameters()}
    assert {decay for _, decay in found.values()} == decays
    assert found["network.head.weight"][0] == 1
    blocks = [found[f"network.blocks.{i}.mlp.fc1.weight"][0] for i in range(len(network.network.blocks))]
    assert blocks == [0.5 ** (len(blocks) - i) for i in range(len(blocks))]
    assert found["network.patch_embed.proj.weight"][0] == blocks[0] / 2
    set_rate(made, 0.2)
    assert {group["lr"] for group in made.param_groups} == {0.2 * scale for scale, _ in found.values()}
    made.param_groups[0]["lr"] = held = torch.zeros(())
    set_rate(made, 0.2)
    assert made.param_groups[0]["lr"] is held
    assert float(held) == pytest.approx(0.2 * made.param_groups[0]["lr_scale"])


def test_a_step_gives_every_group_the_schedules_rate_times_its_scale():
    given = options(model="test_resnet", optimizer="adamw", layer_decay=0.5, batch_size=8)
    network = build_model("test_resnet", num_classes=3, image_shape=TRAIN.image_shape)
    (phase,), pool = phases_of(TRAIN, None, given, seed=0), make_pool(TRAIN, None, device=CPU.device)
    learner = build_learner(network, phase, pool, CPU)
    (batch,) = batches_of(phase.plan, pool, build_augmentation(given), 0, 1)
    step_taker(learner)(batch, 0.01)
    rates = {group["lr_scale"]: group["lr"] for group in learner.optimizer.param_groups}
    assert len(rates) > 3
    assert rates == {scale: 0.01 * scale for scale in rates}


def test_a_second_stage_gives_the_optimizer_only_what_learns():
    network = build_model("test_vit", num_classes=3, image_shape=(3, 32, 32))
    network.requires_grad_(False)
    network.head.requires_grad_(True)
    optimizer = build_optimizer(network, options(model="test_vit", optimizer="adamw", layer_decay=0.5))
    assert set(scales(network, optimizer)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_and_repeats(optimizer):
    told = []
    first = fit(steps=30, optimizer=optimizer, on_step=lambda step, total, values: told.append(values["loss"]))
    assert told[-1] < 0.8 * told[0]
    assert same_weights(first, fit(steps=30, optimizer=optimizer))


def test_defaults_of_another_optimizer_give_way_to_what_is_given():
    assert (options(optimizer="adamw").lr, options(optimizer="adamw").weight_decay) == (5e-4, 0.05)
    assert options(optimizer="adamw", lr=0.01).lr == 0.01
    assert options(optimizer="sgd").lr == 0.05
    assert options(optimizer="adamw", refit="head").refit_lr == 2.5e-5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"optimizer": "adamw", "momentum": 0.5}, r"--momentum 0.5 is read only with --optimizer sgd \(it is adamw\)"),
        ({"model": "resnet8", "layer_decay": 0.7}, "--layer-decay 0.7 does not go with --model resnet8"),
    ],
)
def test_options_that_an_optimizer_does_not_read_are_refused(given, said):
    with pytest.raises(OptionError, match=said):
        checked(ClassifierOptions, given, where="train-classifier")
