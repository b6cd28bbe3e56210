"""Samplers against diffusers' schedulers, state by state: the same network, noise levels and noise, from the same start.

The network is an analytic one, in the place of a backbone, so that what is compared is everything above it: preconditioning,
guidance's binding, noise levels and the sampler. Ours lives in sigma space, x = x0 + sigma eps. Of diffusers' schedulers some
do, too; DDPM, DDIM and DPMSolverMultistep hold x / sqrt(1 + sigma^2). States are compared in that scale, where they are of
order 1 at every noise level.

diffusers has schedulers of VP's T = 1000 levels and of EDM's grid; to run one on any of our grids its table of levels is
replaced (`alphas_cumprod` or `sigmas`), and nothing else. Its tables are float32 where ours are float64, and so are some of
its states: hence the tolerance. It has no Heun's method with EDM's scalings: there its Heun gets the eps that ours find.

Where it differs by default: where x0 is clipped, its DDIM goes on with the eps of before, unless told
`use_clipped_model_output` as here; and its EDM schedulers start from sqrt(sigma_max^2 + 1) where the paper, and ours, start
from sigma_max.
"""

import math

import pytest
import torch
from torch import nn

from ltaug.generator.denoiser import Denoiser
from ltaug.generator.preconditioning import EDM, VP
from ltaug.generator.sampling import bind
from ltaug.methods import PRECONDITIONINGS, SAMPLERS

diffusers = pytest.importorskip("diffusers", minversion="0.30")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within diffusers

SHAPE = (2, 1, 3, 3)
STEPS = 12
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


class AnalyticNetwork(nn.Module):
    """A bounded function of its two inputs that is neither linear nor symmetric, and differs between labels."""

    feature_channels = 1

    def forward(self, x, noise_input, labels, augment=None):
        level = (noise_input / 300).tanh().to(x.dtype)[:, None, None, None]
        return torch.tanh(0.9 * x + 0.3 * level + 0.2 * labels.to(x.dtype)[:, None, None, None]), x


LABELS = torch.tensor([0, 1])


def denoiser_of(name):
    return Denoiser(AnalyticNetwork(), PRECONDITIONINGS[name](), num_classes=2)


def start_of(denoiser):
    stream = torch.Generator().manual_seed(0)
    return torch.randn(SHAPE, generator=stream, dtype=torch.float64) * denoiser.preconditioning.prior_scale()


def scaled(x, sigma):
    return x.double() / math.sqrt(1 + sigma**2)


def our_states(sampler, denoiser, grid, *, clip=False, **own):
    """Every x that the sampler shows to the denoiser, and the one it ends with, over sqrt(1 + sigma^2)."""
    denoise, states = bind(denoiser, LABELS, clip=clip), []

    def watched(x, sigma):
        states.append(scaled(x, sigma))
        return denoise(x, sigma)

    stream = torch.Generator().manual_seed(1)
    noise = lambda: torch.randn(SHAPE, generator=stream, dtype=torch.float64)  # noqa: E731
    states.append(SAMPLERS[sampler](watched, start_of(denoiser), grid.tolist(), noise, **own))
    return states


def predicted(denoiser, x, sigma):
    """eps for x (B, C, H, W) in sigma space at one level."""
    return denoiser(x, torch.full((len(x),), sigma, dtype=x.dtype), LABELS).eps.to(x.dtype)


def states_in_vp_scale(scheduler, denoiser, grid, **step_options):
    """Of DDPM's and DDIM's schedulers: steps counted down from N - 1, eps predicted, x over sqrt(1 + sigma^2)."""
    levels = grid[:-1].flip(0)
    scheduler.alphas_cumprod = 1 / (1 + levels**2)
    scheduler.set_timesteps(len(levels))
    stream = torch.Generator().manual_seed(1)
    x = scaled(start_of(denoiser), grid[0].item())
    states = [x]
    for t in scheduler.timesteps:
        sigma = levels[t].item()
        eps = predicted(denoiser, x * math.sqrt(1 + sigma**2), sigma)
        x = scheduler.step(eps, t, x, generator=stream, **step_options).prev_sample
        states.append(x)
    return states


def states_in_sigma_space(scheduler, denoiser, sigmas, timesteps):
    """Of schedulers that hold x = x0 + sigma eps; `sigmas` as the scheduler walks through them."""
    scheduler.sigmas, scheduler.timesteps = sigmas, timesteps
    scheduler.set_begin_index(0)
    x = start_of(denoiser)
    states = [scaled(x, sigmas[0].item())]
    for i, t in enumerate(timesteps):
        sigma = sigmas[i].item()
        scheduler.scale_model_input(x, t)
        x = scheduler.step(predicted(denoiser, x, sigma), t, x).prev_sample
        states.append(scaled(x, sigmas[i + 1].item()))
    return states


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(a, b.double(), **TOLERANCE, msg=lambda m, step=step: f"state {step}: {m}")


@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize(("variance", "theirs"), [("fixedlarge", "fixed_large"), ("fixedsmall", "fixed_small")])
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_ddpm_is_that_of_diffusers_with_the_same_noise(preconditioning, variance, theirs, clip):
    denoiser = denoiser_of(preconditioning)
    grid = denoiser.preconditioning.grid(STEPS)
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=STEPS, variance_type=theirs, clip_sample=clip)
    states = states_in_vp_scale(scheduler, denoiser, grid)
    assert_same(our_states("ddpm", denoiser, grid, clip=clip, variance=variance), states)


@pytest.mark.parametrize(("variance", "theirs"), [("fixedlarge", "fixed_large"), ("fixedsmall", "fixed_small")])
def test_a_thousand_steps_of_ddpm_are_those_of_diffusers_own_schedule(variance, theirs):
    denoiser = denoiser_of("vp")
    grid = VP().grid(1000)
    scheduler = diffusers.DDPMScheduler(variance_type=theirs, clip_sample=False)
    stream = torch.Generator().manual_seed(1)
    ours = our_states("ddpm", denoiser, grid, variance=variance)
    for i, t in enumerate(
        scheduler.timesteps
    ):  # from our state each time: theirs has float32 levels, 1000 errors of which add up
        eps = denoiser.backbone(ours[i], t.double().expand(2), LABELS)[0]
        found = scheduler.step(eps, t, ours[i], generator=stream).prev_sample
        torch.testing.assert_close(ours[i + 1], found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_ddim_is_that_of_diffusers(preconditioning, clip):
    denoiser = denoiser_of(preconditioning)
    grid = denoiser.preconditioning.grid(STEPS)
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=STEPS, clip_sample=clip)
    theirs = states_in_vp_scale(scheduler, denoiser, grid, use_clipped_model_output=clip)
    assert_same(our_states("ddim", denoiser, grid, clip=clip), theirs)


@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
def test_ddim_is_the_euler_scheduler_of_diffusers(preconditioning):
    denoiser = denoiser_of(preconditioning)
    grid = denoiser.preconditioning.grid(STEPS)
    scheduler = diffusers.EulerDiscreteScheduler()
    theirs = states_in_sigma_space(scheduler, denoiser, grid, torch.arange(STEPS, 0, -1).double())
    assert_same(our_states("ddim", denoiser, grid), theirs)


@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_heun_is_that_of_diffusers(preconditioning, clip):
    denoiser = denoiser_of(preconditioning)
    grid = denoiser.preconditioning.grid(STEPS)
    scheduler = diffusers.HeunDiscreteScheduler(clip_sample=clip)
    scheduler.set_timesteps(STEPS)
    walked = torch.cat([grid[:1], grid[1:-1].repeat_interleave(2), grid[-1:]])  # as its own set_timesteps lays them out
    theirs = states_in_sigma_space(scheduler, denoiser, walked, torch.arange(len(walked) - 1, 0, -1).double())
    assert_same(our_states("heun", denoiser, grid, clip=clip), theirs)


@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
@pytest.mark.parametrize("steps", [2, STEPS, 20])
def test_dpmpp_2m_is_that_of_diffusers(preconditioning, steps):
    denoiser = denoiser_of(preconditioning)
    grid = denoiser.preconditioning.grid(steps)
    scheduler = diffusers.DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint")
    scheduler.set_timesteps(steps)
    scheduler.sigmas = grid
    scheduler.set_begin_index(0)
    x = scaled(start_of(denoiser), grid[0].item())
    theirs = [x]
    for i, t in enumerate(scheduler.timesteps):
        sigma = grid[i].item()
        x = scheduler.step(predicted(denoiser, x * math.sqrt(1 + sigma**2), sigma), t, x).prev_sample
        theirs.append(x)
    assert_same(our_states("dpm++2m", denoiser, grid), theirs)


@pytest.mark.parametrize(("sampler", "theirs"), [("ddim", "EDMEulerScheduler"), ("dpm++2m", "EDMDPMSolverMultistepScheduler")])
def test_edms_grid_scalings_and_steps_are_those_of_diffusers_own_schedulers(sampler, theirs):
    denoiser = denoiser_of("edm")
    scheduler = getattr(diffusers, theirs)(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
    scheduler.set_timesteps(STEPS)
    torch.testing.assert_close(scheduler.sigmas.double(), EDM().grid(STEPS), **TOLERANCE)
    x = start_of(denoiser)
    states = [scaled(x, 80.0)]
    for i, t in enumerate(scheduler.timesteps):
        output = denoiser.backbone(scheduler.scale_model_input(x, t), t.expand(2), LABELS)[0]
        x = scheduler.step(output, t, x).prev_sample
        states.append(scaled(x, scheduler.sigmas[i + 1].item()))
    assert_same(our_states(sampler, denoiser, EDM().grid(STEPS)), states)


def test_the_network_sees_the_inputs_that_diffusers_shows_it_at_vps_levels():
    denoiser = denoiser_of("vp")
    grid = VP().grid(STEPS)
    scheduler = diffusers.EulerDiscreteScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    scheduler.set_timesteps(sigmas=grid.tolist())
    scheduler.set_begin_index(0)
    x = start_of(denoiser)
    for i, t in enumerate(scheduler.timesteps):
        image, t_ours = denoiser.preconditioning.inputs(x, grid[i].expand(2))
        torch.testing.assert_close(t_ours, t.double().expand(2), atol=2e-2, rtol=0)
        torch.testing.assert_close(image, scheduler.scale_model_input(x, t), **TOLERANCE)
        scheduler.step(torch.zeros_like(x), t, x)  # to the next level
