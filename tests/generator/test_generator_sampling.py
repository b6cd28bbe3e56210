"""Schedule, samplers and guidance against closed forms (METHODS: DDPM base, guidance)."""

import math

import pytest
import torch

from ltaug.errors import OptionError
from ltaug.generator.denoiser import Denoised
from ltaug.generator.preconditioning import EDM, VP
from ltaug.generator.samplers import ancestral_variance
from ltaug.generator.sampling import bind, guides
from ltaug.generator.space import PIXELS
from ltaug.methods import PRECONDITIONINGS, SAMPLERS


def test_the_vp_schedule_has_the_published_values():
    abar = VP().abar
    assert abar[0].item() == pytest.approx(0.9999, abs=1e-12)
    assert abar[499].item() == pytest.approx(0.0785872, rel=1e-6)
    assert abar[999].item() == pytest.approx(4.03583e-5, rel=1e-5)


@pytest.mark.parametrize(("variance", "step", "log_variance"), [("fixedsmall", 1, -9.8167), ("fixedlarge", 1, -9.02869)])
def test_ancestral_variances_are_those_of_ddpm(variance, step, log_variance):
    s, r = VP().sigmas[step].item(), VP().sigmas[step - 1].item()
    in_vp_scale = ancestral_variance(s, r, variance=variance) / (1 + r**2)
    assert math.log(in_vp_scale) == pytest.approx(log_variance, abs=2e-4)


def test_vp_time_inverts_sigma_on_and_between_the_steps():
    vp = VP()
    t = torch.tensor([0, 1, 500, 998, 999])
    torch.testing.assert_close(vp.time(vp.sigmas[t].float()), t.float(), atol=2e-2, rtol=0)
    middle = (vp.sigmas[500] * vp.sigmas[501]).sqrt()
    assert vp.time(middle[None]).item() == pytest.approx(500.5, abs=1e-3)


def noised(p, count=6):
    torch.manual_seed(0)
    sigma, time = p.draw(count, device=torch.device("cpu"))
    sigma = sigma.double()
    x0, eps = torch.rand(count, 1, 4, 4).double() * 2 - 1, torch.randn(count, 1, 4, 4).double()
    return x0, eps, time, sigma, x0 + sigma[:, None, None, None] * eps


@pytest.mark.parametrize("name", PRECONDITIONINGS)
def test_every_preconditioning_splits_x_into_x0_and_eps_whatever_is_predicted(name):
    p = PRECONDITIONINGS[name]()
    _, _, time, sigma, x = noised(p)
    image, noise_input = p.inputs(x, sigma)
    found_x0, found_eps = p.outputs(x, sigma, torch.randn_like(x))
    torch.testing.assert_close(found_x0 + sigma[:, None, None, None] * found_eps, x)
    assert image.shape == x.shape
    assert noise_input.shape == (6,)
    assert ((time >= 0) & (time < 1)).all()
    assert (p.loss_weight(sigma) > 0).all()


def test_a_network_that_knows_eps_is_right_under_vp():
    x0, eps, _, sigma, x = noised(VP())
    found_x0, found_eps = VP().outputs(x, sigma, eps)
    torch.testing.assert_close(found_x0, x0, atol=1e-6, rtol=1e-6)
    assert torch.equal(found_eps, eps)


def test_edm_scales_weights_and_predicts_as_its_paper_says():
    p = EDM()
    x0, eps, _, sigma, x = noised(p)
    s = sigma[:, None, None, None]
    c_skip, c_out, c_in = 0.25 / (s**2 + 0.25), s * 0.5 / (s**2 + 0.25).sqrt(), 1 / (s**2 + 0.25).sqrt()
    image, noise_input = p.inputs(x, sigma)
    torch.testing.assert_close(image, c_in * x)
    torch.testing.assert_close(noise_input, sigma.log() / 4)
    perfect = (x0 - c_skip * x) / c_out
    found_x0, found_eps = p.outputs(x, sigma, perfect)
    torch.testing.assert_close(found_x0, x0)
    torch.testing.assert_close(found_eps, eps)
    prediction = torch.randn_like(x)
    denoised, off = p.outputs(x, sigma, prediction)
    torch.testing.assert_close(denoised, c_skip * x + c_out * prediction)
    in_x0 = (s**2 + 0.25) / (s * 0.5) ** 2 * (denoised - x0).square()
    in_eps = p.loss_weight(sigma)[:, None, None, None] * (off - eps).square()
    torch.testing.assert_close(in_eps, in_x0)  # the same loss
    torch.testing.assert_close(in_eps, (prediction - perfect).square())  # of weight 1 on what the network predicts


def test_edm_holds_its_eps_in_float32_at_the_smallest_sigma():
    x0, eps, sigma = torch.rand(4, 1, 8, 8) * 2 - 1, torch.randn(4, 1, 8, 8), torch.full((4,), 0.002)
    x = x0 + 0.002 * eps
    exact = ((x.double() - 0.25 / (0.002**2 + 0.25) * x.double()) / 0.002).float()  # F = 0
    torch.testing.assert_close(EDM().outputs(x, sigma, torch.zeros_like(x))[1], exact, atol=1e-6, rtol=1e-5)


def test_edm_draws_the_published_noise_levels():
    torch.manual_seed(0)
    log_sigma = EDM().draw(50_000, device=torch.device("cpu"))[0].log()
    assert log_sigma.mean().item() == pytest.approx(-1.2, abs=0.03)
    assert log_sigma.std().item() == pytest.approx(1.2, abs=0.02)


def test_edms_time_is_that_of_the_vp_level_with_the_same_signal_to_noise_ratio():
    vp = VP()
    torch.manual_seed(0)
    sigma, time = EDM().draw(200, device=torch.device("cpu"))
    inside = (sigma > vp.sigmas[0]) & (sigma < vp.sigmas[-1])
    t = (time[inside] * 1000).double()
    between = vp.sigmas[t.floor().long()], vp.sigmas[(t.floor().long() + 1).clamp_max(999)]
    assert (sigma[inside] >= between[0] * (1 - 1e-4)).all()
    assert (sigma[inside] <= between[1] * (1 + 1e-4)).all()
    _, extreme = EDM(p_mean=math.log(1e-4), p_std=0.0).draw(1, device=torch.device("cpu"))
    assert extreme.item() == 0


@pytest.mark.parametrize("name", PRECONDITIONINGS)
@pytest.mark.parametrize("steps", [1, 2, 20, 1000])
def test_the_grid_decreases_to_zero(name, steps):
    grid = PRECONDITIONINGS[name]().grid(steps)
    assert len(grid) == steps + 1
    assert grid[-1] == 0
    assert (grid[1:] < grid[:-1]).all()
    if name == "vp" and steps == 1000:
        assert torch.equal(grid[:-1].flip(0), VP().sigmas)


def test_edms_grid_of_18_steps_is_the_published_one():
    grid = EDM().grid(18)
    by_formula = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    torch.testing.assert_close(grid[:-1], torch.tensor(by_formula, dtype=torch.float64))
    assert grid[1].item() == pytest.approx(57.586, abs=1e-3)
    assert EDM().prior_scale() == grid[0].item() == pytest.approx(80)


def run(name, denoise, x, steps, noise=None):
    generator = torch.Generator().manual_seed(0)
    noise = noise or (lambda: torch.randn(x.shape, generator=generator, dtype=x.dtype))
    return SAMPLERS[name](denoise, x, VP().grid(steps).tolist(), noise)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_every_sampler_recovers_x0_from_a_denoiser_that_knows_it(name, steps):
    x0 = torch.linspace(-1, 1, 16, dtype=torch.float64).view(1, 1, 4, 4)
    x = x0 + VP().sigmas[-1] * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(run(name, lambda x, s: x0, x, steps), x0, atol=1e-9, rtol=0)


def gaussian(std):
    """The exact denoiser of data ~ N(0, std^2), and the exact end of the probability flow from x at sigma."""
    flow = lambda x, s: x * std / math.sqrt(std**2 + s**2)  # noqa: E731
    return (lambda x, s: x * std**2 / (std**2 + s**2)), flow


@pytest.mark.parametrize(("name", "tolerance"), [("ddim", 0.03), ("heun", 2e-3), ("dpm++2m", 5e-3)])
def test_deterministic_samplers_follow_the_exact_flow_of_a_gaussian(name, tolerance):
    denoise, flow = gaussian(0.5)
    x = torch.tensor([[[[100.0]]]], dtype=torch.float64)
    errors = [abs(run(name, denoise, x, n).item() / flow(x, VP().sigmas[-1].item()).item() - 1) for n in (50, 200)]
    assert errors[1] < errors[0]  # it converges
    assert errors[1] < tolerance


@pytest.mark.parametrize("variance", ["fixedlarge", "fixedsmall"])
def test_ancestral_sampling_reproduces_the_variance_of_a_gaussian(variance):
    denoise, _ = gaussian(0.5)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, 1, 1, generator=generator) * VP().prior_scale()
    made = SAMPLERS["ddpm"](
        denoise, x, VP().grid(1000).tolist(), lambda: torch.randn(x.shape, generator=generator), variance=variance
    )
    assert made.std().item() == pytest.approx(0.5, rel=0.03)


class TwoAnswers:
    """eps 1 under a class, 3 under none."""

    null_label = 7

    def __init__(self, preconditioning="vp"):
        self.preconditioning, self.space = PRECONDITIONINGS[preconditioning](), PIXELS
        self.calls = self.images = 0

    def __call__(self, x, sigma, labels):
        self.calls += 1
        self.images += len(x)
        eps = torch.where(labels == self.null_label, 3.0, 1.0)[:, None, None, None].expand_as(x)
        return Denoised(x0=x - sigma[:, None, None, None] * eps, eps=eps, features=x)


@pytest.mark.parametrize("w", [0.0, 0.8, 2.0])
def test_guidance_is_the_published_formula_in_one_pass(w):
    network = TwoAnswers()
    x, sigma = torch.zeros(2, 1, 2, 2), 0.5
    x0 = bind(network, torch.tensor([0, 1]), guidance=w, clip=False)(x, sigma)
    eps = 1 + w * (1 - 3)
    torch.testing.assert_close(x0, x - sigma * eps)
    assert network.calls == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("preconditioning", PRECONDITIONINGS)
def test_an_interval_of_guidance_saves_the_second_branch_outside_it_and_changes_nothing_inside(sampler, preconditioning):
    network = TwoAnswers(preconditioning)
    labels, sigmas = torch.tensor([0, 1, 2]), network.preconditioning.grid(12).tolist()
    inside = {s for s in sigmas[:-1] if 0.2 <= VP().time(torch.tensor([s])).item() / 1000 <= 0.7}
    assert 0 < len(inside) < 12
    guided, plain, limited = (
        bind(network, labels, guidance=w, guidance_interval=interval)
        for w, interval in ((1.5, (0.0, 1.0)), (0.0, (0.0, 1.0)), (1.5, (0.2, 0.7)))
    )
    visited = []

    def checked(x, sigma):
        before = network.images
        x0 = limited(x, sigma)
        assert network.images - before == (6 if sigma in inside else 3)
        assert torch.equal(x0, (guided if sigma in inside else plain)(x, sigma))
        visited.append(sigma)
        return x0

    torch.manual_seed(0)
    start = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    SAMPLERS[sampler](checked, start * sigmas[0], sigmas, lambda: torch.randn_like(start))
    assert set(visited) == set(sigmas[:-1])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("interval", "same_as"), [((0.0, 1.0), 1.5), ((0.9995, 1.0), 0.0)])
def test_the_whole_interval_is_guidance_everywhere_and_one_beyond_all_levels_is_none(sampler, interval, same_as):
    network, labels, sigmas = TwoAnswers(), torch.tensor([0, 1]), VP().grid(10).tolist()
    start = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * sigmas[0]

    def sampled(**how):
        noise = torch.Generator().manual_seed(1)
        denoise = bind(network, labels, **how)
        return SAMPLERS[sampler](denoise, start, sigmas, lambda: torch.randn(2, 1, 2, 2, generator=noise, dtype=torch.float64))

    assert torch.equal(sampled(guidance=1.5, guidance_interval=interval), sampled(guidance=same_as))


@pytest.mark.parametrize(("t", "images"), [(249, 3), (250, 6), (500, 6), (501, 3)])
def test_an_interval_of_guidance_includes_both_its_ends(t, images):
    network = TwoAnswers()
    denoise = bind(network, torch.tensor([0, 1, 2]), guidance=1.5, guidance_interval=(0.25, 0.5))
    denoise(torch.zeros(3, 1, 2, 2), VP().sigmas[t].item())
    assert network.images == images


def test_an_interval_means_the_same_noise_under_every_preconditioning():
    for t in (0, 199, 201, 699, 701, 999):
        sigma = VP().sigmas[t].item()
        assert [guides(make(), sigma, (0.2, 0.7)) for make in PRECONDITIONINGS.values()] == [200 < t < 700] * 2
    assert not guides(EDM(), 0.002, (0.01, 1.0))
    assert guides(EDM(), 80.0, (0.9, 1.0))


def test_clipping_keeps_x0_among_the_pixels():
    x0 = bind(TwoAnswers(), torch.tensor([0]), clip=True)(torch.zeros(1, 1, 2, 2), 5.0)
    assert x0.min() == x0.max() == -1


@pytest.mark.parametrize("std", [0.3, 0.7])
def test_twenty_steps_of_the_default_sampler_come_nearer_the_exact_flow_than_ddim(std):
    denoise, flow = gaussian(std)
    x = torch.tensor([[[[100.0]]]], dtype=torch.float64)
    exact = flow(x, VP().sigmas[-1].item()).item()
    error = {name: abs(run(name, denoise, x, 20).item() / exact - 1) for name in ("ddim", "dpm++2m")}
    assert error["dpm++2m"] < 0.5 * error["ddim"]
    assert error["dpm++2m"] < 0.05


def test_an_unknown_sampler_is_answered_with_the_names():
    with pytest.raises(OptionError, match="did you mean 'ddim'"):
        SAMPLERS.find("ddimm")
