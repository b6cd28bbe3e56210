"""Sampling from real images and along a criterion, against the same steps by hand."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from ltaug.generator.batching import BatchSize
from ltaug.generator.denoiser import Denoised
from ltaug.generator.generate import GeneratedImages, Generator, ImageNoise, generate
from ltaug.generator.preconditioning import VP
from ltaug.generator.sampling import Sampling, bind
from ltaug.generator.space import PIXELS
from ltaug.generator.steering import Guide, Start
from ltaug.methods import PRECONDITIONINGS, SAMPLERS
from ltaug.runtime import Runtime

CPU = Runtime(torch.device("cpu"), None)
SHAPE = (1, 4, 4)
KEYS = [(i % 3, i) for i in range(7)]
REAL = np.random.RandomState(0).randint(0, 256, (len(KEYS), *SHAPE)).astype(np.uint8)


def real_images(keys):
    return REAL[[index for _, index in keys]]


class Elementwise:
    """Denoises every pixel by itself and notes the noise levels that it is asked about."""

    null_label = 3

    def __init__(self, preconditioning=None):
        self.preconditioning, self.space = preconditioning or VP(), PIXELS
        self.levels = []

    def __call__(self, x, sigma, labels):
        self.levels.append(sigma[0].item())
        x0 = (x / (1 + sigma[:, None, None, None]) + 0.3 * labels[:, None, None, None]).tanh()
        return Denoised(x0=x0, eps=(x - x0) / sigma[:, None, None, None], features=x)


def brightness(x, labels):
    return x.flatten(1).mean(1) * (1 + labels)


def images(denoiser, keys=KEYS, *, batch_size=4, sampler="ddpm", steps=6, **how):
    sampling = Sampling(steps=steps, sampler=sampler, guidance=0.5)
    return generate(denoiser, keys, image_shape=SHAPE, seed=3, runtime=CPU, batch_size=batch_size, sampling=sampling, **how)


@pytest.mark.parametrize("fraction", [0.001, 0.2345, 0.5, 0.98])
@pytest.mark.parametrize("name", PRECONDITIONINGS)
def test_the_level_of_a_fraction_has_that_fraction(name, fraction):
    p = PRECONDITIONINGS[name]()
    sigma = torch.tensor([p.level(fraction)], dtype=torch.float64)
    if sigma.item() < p.grid(1)[0]:  # sampling with EDM begins at sigma_max, below VP's last levels
        assert p.fraction(sigma).item() == pytest.approx(fraction, abs=2e-5)
    else:
        assert p.fraction(sigma).item() < fraction


@pytest.mark.parametrize("strength", [0.0001, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("steps", [1, 2, 20, 1000])
@pytest.mark.parametrize("name", PRECONDITIONINGS)
def test_levels_fall_from_the_strength_along_the_grid_to_zero(name, steps, strength):
    p = PRECONDITIONINGS[name]()
    levels, grid = Start(images=real_images, strength=strength).levels(p, steps), p.grid(steps).tolist()
    assert levels[0] == p.level(strength)
    assert levels[1:] == grid[len(grid) - len(levels) + 1 :]
    assert all(s > r for s, r in pairwise(levels))
    assert levels[-1] == 0


def test_from_the_middle_of_the_thousand_steps_the_levels_are_the_ddpms_own():
    levels = Start(images=real_images, strength=0.5).levels(VP(), 1000)
    assert levels == pytest.approx([*VP().sigmas[:501].flip(0).tolist(), 0.0], rel=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", PRECONDITIONINGS)
def test_a_start_is_noising_by_hand_and_the_sampler_from_there(name, sampler):
    denoiser = Elementwise(PRECONDITIONINGS[name]())
    found = images(denoiser, sampler=sampler, steps=9, batch_size=len(KEYS), start=Start(images=real_images, strength=0.6))
    sigma = denoiser.preconditioning.level(0.6)
    assert sigma == pytest.approx(6.1735, rel=1e-4), "sigma at t = 600"
    nearest = {"vp": 4.8996, "edm": 7.1005}[name]  # the level of the grid of 9 that gives way: t/T = .562, .622
    sigmas = [sigma, *(r for r in denoiser.preconditioning.grid(9).tolist() if r < 0.999 * nearest)]
    noise = ImageNoise(KEYS, seed=3, image_shape=SHAPE, device=CPU.device)
    x = torch.from_numpy(REAL / 127.5 - 1).float() + sigma * noise()
    x = SAMPLERS[sampler](bind(denoiser, torch.tensor([c for c, _ in KEYS]), guidance=0.5), x, sigmas, noise)
    by_hand = ((x.clamp(-1, 1) + 1) * 127.5).round().numpy().astype(np.uint8)
    np.testing.assert_array_equal(found, by_hand)


@pytest.mark.parametrize("guide", [None, Guide(criterion=brightness, scale=0.2, every=2)])
@pytest.mark.parametrize("start", [None, Start(images=real_images, strength=0.5)])
def test_an_image_does_not_depend_on_its_batch(start, guide):
    whole = images(Elementwise(), start=start, guide=guide)
    for batch_size, keys in ((1, KEYS), (3, KEYS[::-1]), (len(KEYS), KEYS)):
        made = images(Elementwise(), keys, batch_size=batch_size, start=start, guide=guide)
        np.testing.assert_array_equal(made, whole[[index for _, index in keys]])


def test_a_move_is_the_formula_by_hand_for_each_image():
    sigma, scale, a = 0.8, 0.05, 0.7
    x = np.random.RandomState(1).randn(2, *SHAPE)
    aim = np.random.RandomState(2).randn(*SHAPE)

    def nearness(seen, labels):
        return -(seen - torch.from_numpy(aim)).square().flatten(1).sum(1) * labels

    moved = Guide(criterion=nearness, scale=scale).moved(lambda x, sigma: a * x, torch.from_numpy(x), sigma, torch.tensor([1, 4]))
    abar = 1 / (1 + sigma**2)
    s = np.sqrt(1 - abar)
    factor = s * a + (1 - s) * np.sqrt(abar)  # x' = factor x, as the denoiser is linear
    for image, label, found in zip(x, (1, 4), moved.numpy(), strict=True):
        g = -2 * label * factor * (factor * image - aim)
        by_hand = image + scale * np.linalg.norm(image) * g / np.linalg.norm(g)
        np.testing.assert_allclose(found, by_hand, rtol=1e-12)


def test_the_gradient_goes_through_the_denoiser():
    """With x0 = sin(x) and all of the criterion's view on x0, which a large sigma gives, g is cos(x)."""
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    moved = Guide(criterion=lambda seen, labels: seen.flatten(1).sum(1), scale=1.0).moved(
        lambda x, sigma: x.sin(), x, 1e9, torch.tensor([0])
    )
    torch.testing.assert_close(moved - x, x.cos() * x.norm() / x.cos().norm(), rtol=1e-6, atol=1e-6)


def test_where_the_criterion_is_flat_nothing_moves():
    x = torch.randn(2, *SHAPE)
    flat = Guide(criterion=lambda seen, labels: 0 * seen.flatten(1).sum(1))
    assert torch.equal(flat.moved(lambda x, sigma: x, x, 1.0, torch.tensor([0, 1])), x)


def test_images_move_before_every_kth_step_from_the_first_on():
    denoiser = Elementwise()
    grid = denoiser.preconditioning.grid(5).tolist()
    images(denoiser, KEYS[:4], steps=5, sampler="ddim", guide=Guide(criterion=brightness, every=2))
    expected = [grid[i] for i in (0, 0, 1, 2, 2, 3, 4, 4)]
    assert denoiser.levels == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "dpm++2m"])
def test_moves_of_length_zero_change_nothing_for_samplers_without_memory(sampler):
    still = images(Elementwise(), sampler=sampler, guide=Guide(criterion=brightness, scale=0.0, every=2))
    np.testing.assert_array_equal(still, images(Elementwise(), sampler=sampler))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guided_images_score_higher(sampler):
    plain = images(Elementwise(), sampler=sampler)
    guided = images(Elementwise(), sampler=sampler, guide=Guide(criterion=brightness, scale=0.2, every=2))
    assert guided.mean() > plain.mean() + 1


def test_generated_images_pass_start_and_guide_on():
    generator = Generator(Elementwise(), ("a", "b", "c"), SHAPE, "", Path(), 1)
    how = {"start": Start(images=real_images, strength=0.4), "guide": Guide(criterion=brightness, every=3)}
    made = GeneratedImages(generator, Sampling(steps=6, guidance=0.5, sampler="ddpm"), BatchSize(4), 3, CPU, **how)(KEYS)
    np.testing.assert_array_equal(made, images(Elementwise(), **how))
    assert math.isfinite(made.mean())
