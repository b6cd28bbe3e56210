"""Every method with every other: a training step and samples for objectives x backbones x preconditionings x samplers."""

import dataclasses
from functools import lru_cache

import numpy as np
import pytest
import torch
from fake_judge import toy_judged

from ltaug import methods
from ltaug.data.imageset import ImageSet
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch, train_step
from ltaug.generator.generate import generate
from ltaug.generator.objectives.cbdm import PAIR_FORMS
from ltaug.generator.objectives.coral import STRENGTHS
from ltaug.generator.sampling import Sampling, bind
from ltaug.generator.steering import Guide, Start
from ltaug.methods import BACKBONES, GENERATOR_AUGMENTATIONS, PRECONDITIONINGS, REGULARISERS, SAMPLERS, TARGETS
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime

OBJECTIVES = [*TARGETS, *REGULARISERS, *("+".join([target, *REGULARISERS]) for target in TARGETS)]
CPU = Runtime(torch.device("cpu"), None)


def tiny_set():
    labels = np.repeat(np.arange(3), [6, 3, 1]).astype(np.int64)
    images = np.random.RandomState(0).randint(0, 256, (10, 1, 8, 8)).astype(np.uint8)
    return ImageSet(images, labels, ("a", "b", "c"), "tiny")


def trainee_and_batch(backbone, **given):
    options = GeneratorOptions(backbone=backbone, **BACKBONES[backbone].TINY, batch_size=6, label_dropout=0.3, **given)
    trainee = build_trainee(options, tiny_set(), seed=0, device=CPU.device, judged=toy_judged())
    torch.manual_seed(0)
    for p in trainee.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))  # away from the zeros networks start at
    data = TrainingData.on(CPU.device, tiny_set(), sampling=options.sampling)
    return options, trainee, draw_batch(data, options, trainee.denoiser, step=1, seed=0)


@lru_cache
def trained(objective, backbone, preconditioning):
    options, trainee, batch = trainee_and_batch(objective=objective, backbone=backbone, preconditioning=preconditioning)
    for step in range(2):
        train_step(trainee, batch, options, CPU, step=step)
    return trainee.denoiser.eval().requires_grad_(False)


@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_finite_per_image_and_reaches_every_backbone(objective, backbone, preconditioning):
    _, trainee, batch = trainee_and_batch(objective=objective, backbone=backbone, preconditioning=preconditioning)
    result = trainee.objective(trainee.denoiser, batch)
    assert result.loss.shape == (6,)
    assert result.loss.isfinite().all()
    assert set(result.terms) == {"denoising", *(set(objective.split("+")) & set(REGULARISERS))}
    torch.testing.assert_close(result.loss, sum(result.terms.values()))
    result.loss.mean().backward()
    owned = [*trainee.denoiser.parameters(), *trainee.objective.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in owned)
    assert next(trainee.denoiser.parameters()).grad.abs().max() > 0


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_sampler_draws_finite_images_that_differ_from_every_trained_combination(
    objective, backbone, preconditioning, sampler
):
    denoiser = trained(objective, backbone, preconditioning)
    labels = torch.tensor([0, 1, 2])
    stream = torch.Generator().manual_seed(0)
    noise = lambda: torch.randn(3, 1, 8, 8, generator=stream)  # noqa: E731
    start = noise() * denoiser.preconditioning.prior_scale()
    with torch.inference_mode():
        sigmas = denoiser.preconditioning.grid(3).tolist()
        x = SAMPLERS[sampler](bind(denoiser, labels, guidance=0.5), start, sigmas, noise)
    assert x.shape == (3, 1, 8, 8)
    assert x.isfinite().all()
    assert len(x.flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_sampler_draws_images_from_real_ones_and_along_a_criterion(backbone, preconditioning, sampler):
    denoiser = trained("ddpm", backbone, preconditioning)
    real, keys = tiny_set().images[:4], [(0, 0), (1, 1), (2, 2), (1, 3)]
    start = Start(images=lambda keys: real[[index for _, index in keys]], strength=0.3)
    guide = Guide(criterion=lambda x, labels: x.flatten(1).square().mean(1), scale=0.1, every=2)
    how = {"image_shape": (1, 8, 8), "seed": 0, "runtime": CPU, "sampling": Sampling(sampler=sampler, steps=6, guidance=0.5)}
    made = [generate(denoiser, keys, **how, **extra) for extra in ({}, {"start": start}, {"guide": guide, "start": start})]
    assert [images.shape for images in made] == [(4, 1, 8, 8)] * 3
    assert all(not np.array_equal(a, b) for i, a in enumerate(made) for b in made[:i])
    np.testing.assert_array_equal(generate(denoiser, keys[:2], guide=guide, start=start, **how), made[2][:2])


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "cbdm", "draws": 2},
        {"objective": "cbdm", "pair_form": "sampled"},
        {"objective": "t2h+cbdm+coral", "pair_fraction": 0.5, "coral_mode": "released"},
        {"objective": "cbdm", "sampling": "rs"},
        {"objective": "cbdm+coral", "augment": "ada", "draws": 2},
        {"objective": "t2h+cbdm", "augment": "diffaug"},
        {"objective": "cbdm+aid", "aid_weight": 10.0, "aid_below": 100.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
def test_every_form_of_a_method_trains_on_every_backbone_and_preconditioning(given, backbone, preconditioning):
    options, trainee, batch = trainee_and_batch(backbone=backbone, preconditioning=preconditioning, **given)
    before = [p.clone() for p in trainee.denoiser.parameters()]
    terms = train_step(trainee, batch, options, CPU, step=0)
    assert all(v.isfinite() for v in terms.values())
    assert not all(torch.equal(a, b) for a, b in zip(before, trainee.denoiser.parameters(), strict=True))


@pytest.mark.parametrize(("option", "forms"), [("pair_form", PAIR_FORMS), ("coral_mode", STRENGTHS)])
def test_an_options_choices_are_the_forms_its_method_has(option, forms):
    assert GeneratorOptions.__dataclass_fields__[option].metadata["choices"] == tuple(forms)


@pytest.mark.parametrize("registry", [v for v in vars(methods).values() if isinstance(v, methods.Registry)], ids=lambda r: r.flag)
def test_every_name_is_of_something_that_exists(registry):
    for name in registry:
        assert registry.about(name).where is None or registry[name] is not None


@pytest.mark.parametrize("name", GENERATOR_AUGMENTATIONS)
def test_what_methods_say_of_an_augmentation_is_so(name):
    assert GENERATOR_AUGMENTATIONS.about(name).tells_network == (GENERATOR_AUGMENTATIONS[name].label_channels > 0)


@pytest.mark.parametrize("name", TARGETS)
def test_what_methods_say_of_a_target_rule_is_so(name):
    _, trainee, batch = trainee_and_batch("unet", objective=name)
    noisy = dataclasses.replace(batch, sigma=torch.full_like(batch.sigma, 50.0), classes=torch.zeros_like(batch.classes))
    torch.manual_seed(0)
    moved = not torch.equal(trainee.objective.target(noisy), noisy.eps)
    assert TARGETS.about(name).moves_targets == moved
