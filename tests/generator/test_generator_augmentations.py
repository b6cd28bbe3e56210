"""Augmentation of training images: exact geometry, labels that tell it, nothing left of it at sampling."""

import dataclasses
import math

import pytest
import torch

from ltaug.errors import OptionError
from ltaug.generator.augmentations.ada import ada, draw_parameters, label_of, transform
from ltaug.generator.augmentations.diffaug import coloured, cutout, translated
from ltaug.generator.denoiser import Denoised
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch
from ltaug.methods import GENERATOR_AUGMENTATIONS

CPU = torch.device("cpu")


def images(height=8, width=8, count=2):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def parameters(count=2, **given):
    a = torch.zeros(count, 8)
    for name, value in given.items():
        a[:, int(name[1:])] = value
    return a


def test_an_image_nothing_is_done_to_is_itself_and_has_a_label_of_zeros():
    x0 = images()
    assert torch.equal(transform(x0, parameters()), x0)
    assert torch.equal(label_of(parameters()), torch.zeros(2, 9))


def test_mirrors_are_exact():
    x0 = images(6, 10)
    assert torch.equal(transform(x0, parameters(a0=1)), x0.flip(-1))
    assert torch.equal(transform(x0, parameters(a1=1)), x0.flip(-2))


@pytest.mark.parametrize(("angle", "turns"), [(math.pi / 2, -1), (math.pi, 2), (-math.pi / 2, 1)])
def test_a_rotation_by_right_angles_is_a_turn(angle, turns):
    x0 = images()
    torch.testing.assert_close(transform(x0, parameters(a3=angle)), torch.rot90(x0, turns, (2, 3)), atol=1e-5, rtol=0)


def test_a_shift_moves_the_image_by_that_many_eighths():
    x0 = images(16, 8)
    moved = transform(x0, parameters(a6=1.0, a7=-1.0))  # one pixel right, two up
    torch.testing.assert_close(moved[:, :, :-2, 1:], x0[:, :, 2:, :-1], atol=1e-5, rtol=0)


def ramp(height=16, width=16):
    """Channel 0 is the place in x and channel 1 in y, in pixels from the centre: a warp shows where it took each from."""
    y = (torch.arange(height) - (height - 1) / 2)[:, None].expand(height, width)
    x = (torch.arange(width) - (width - 1) / 2)[None].expand(height, width)
    return torch.stack([x, y])[None]


@pytest.mark.parametrize(
    ("given", "x_from", "y_from"),
    [
        ({"a2": 5.0}, 0.5, 0.5),  # twice as large: a place shows what was half as far out
        ({"a5": 5.0}, 0.5, 2.0),  # stretched along x, squeezed across it
        ({"a5": 5.0, "a4": math.pi / 2}, 2.0, 0.5),  # along y
    ],
)
@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_scales_are_powers_of_two_to_a_fifth_about_the_centre(given, x_from, y_from, shape):
    place = ramp(*shape)
    warped = transform(place, parameters(1, **given))
    inner = (slice(None), slice(None), slice(4, -4), slice(6, -6))  # away from the reflected border
    x, y = warped[inner][0]
    torch.testing.assert_close(x, place[inner][0, 0] * x_from, atol=1e-4, rtol=0)
    torch.testing.assert_close(y, place[inner][0, 1] * y_from, atol=1e-4, rtol=0)


def test_a_rotation_stays_one_on_images_that_are_not_square():
    place = ramp(12, 20)
    warped = transform(place, parameters(1, a3=0.3))
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    before, after = place[inner].square().sum(1), warped[inner].square().sum(1)
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)  # distances from the centre are kept


def test_operations_happen_in_their_order():
    x0 = images(8, 8)
    turned = transform(transform(x0, parameters(a0=1)), parameters(a3=math.pi / 2))
    torch.testing.assert_close(transform(x0, parameters(a0=1, a3=math.pi / 2)), turned, atol=1e-5, rtol=0)
    shifted = transform(transform(x0, parameters(a3=math.pi / 2)), parameters(a6=1.0))
    at_once = transform(x0, parameters(a3=math.pi / 2, a6=1.0))
    torch.testing.assert_close(at_once[..., 1:], shifted[..., 1:], atol=1e-5, rtol=0)


def test_a_stretch_comes_after_the_rotation():
    place = ramp(40, 40)  # linear, so that one warp and two say the same to rounding
    turn, stretch = parameters(1, a2=-1.0, a3=0.7), parameters(1, a4=0.4, a5=1.5)
    inner = (slice(None), slice(None), slice(14, -14), slice(14, -14))
    in_turn = transform(transform(place, turn), stretch)[inner]
    torch.testing.assert_close(transform(place, turn + stretch)[inner], in_turn, atol=1e-3, rtol=0)
    swapped = transform(transform(place, stretch), turn)[inner]
    assert (in_turn - swapped).abs().max() > 0.1


class Recorder(torch.nn.Module):
    """Remembers how it was told images were varied."""

    def forward(self, x, sigma, labels, augment=None):
        self.augment = augment
        eps = torch.zeros_like(x, requires_grad=True)
        return Denoised(x, eps, torch.zeros(len(x), 2, 1, 1))


def test_both_passes_over_an_image_are_told_how_it_was_varied(tiny_set, tiny_options):
    options = dataclasses.replace(tiny_options, augment="ada", objective="cbdm", pair_fraction=0.5)
    trainee = build_trainee(options, tiny_set, seed=0, device=CPU)
    batch = draw_batch(TrainingData.on(CPU, tiny_set), options, trainee.denoiser, step=0, seed=0)
    assert batch.augment.shape == (4, 9)
    batch = dataclasses.replace(batch, augment=torch.arange(36.0).view(4, 9))
    network = Recorder()
    trainee.objective(network, batch)
    assert torch.equal(network.augment[:4], batch.augment)
    assert network.augment.shape == (6, 9)
    assert all((batch.augment == row).all(1).any() for row in network.augment[4:])


def test_the_label_says_what_was_done():
    a = torch.tensor([[1, 0, 0.3, math.pi / 2, math.pi, 2.0, -1, 0.5]])
    expected = torch.tensor([[1, 0, 0.3, -1, 1, -2, 0, -1, 0.5]])
    torch.testing.assert_close(label_of(a), expected, atol=1e-6, rtol=0)


def test_operations_are_as_frequent_and_as_wide_as_published():
    torch.manual_seed(0)
    a = draw_parameters(100_000, p=0.12, device=CPU)
    share = (a != 0).double().mean(0)
    torch.testing.assert_close(share[[2, 3, 4, 5, 6, 7]], torch.full((6,), 0.12).double(), atol=0.005, rtol=0)
    assert share[0].item() == pytest.approx(0.5, abs=0.005)
    assert share[1].item() == pytest.approx(0.06, abs=0.005)  # drawn with probability .12, then 0 or 1
    assert ((a[:, 4] != 0) == (a[:, 5] != 0)).all()
    assert ((a[:, 6] != 0) == (a[:, 7] != 0)).all()
    for i in (2, 5, 6, 7):
        assert a[a[:, i] != 0, i].std().item() == pytest.approx(1, abs=0.03)
    assert a[:, 3].abs().max().item() == pytest.approx(math.pi, abs=0.01)


def test_ada_varies_images_and_stays_within_their_range():
    torch.manual_seed(0)
    x0 = images(count=64)
    varied, label = ada(x0, p=1.0)
    assert label.shape == (64, 9)
    assert not torch.equal(varied, x0)
    assert varied.min() >= x0.min() - 1e-6
    assert varied.max() <= x0.max() + 1e-6


@pytest.mark.parametrize("name", GENERATOR_AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20)])
def test_every_augmentation_keeps_the_shape_and_has_the_label_it_announces(name, shape):
    torch.manual_seed(0)
    varied, label = GENERATOR_AUGMENTATIONS[name].apply(torch.rand(5, *shape) * 2 - 1)
    assert varied.shape == (5, *shape)
    assert varied.isfinite().all()
    assert (0 if label is None else label.shape[1]) == GENERATOR_AUGMENTATIONS[name].label_channels


def test_a_target_that_moves_between_images_is_refused_with_labelled_augmentation(tiny_set, tiny_options):
    build = lambda **given: build_trainee(dataclasses.replace(tiny_options, **given), tiny_set, seed=0, device=CPU)  # noqa: E731
    with pytest.raises(OptionError, match=r"--augment ada does not go with --objective t2h\+cbdm"):
        build(objective="t2h+cbdm", augment="ada")
    build(objective="t2h+cbdm", augment="diffaug")
    build(objective="cbdm+coral", augment="ada")


def test_diffaug_changes_colours_within_the_published_bounds():
    torch.manual_seed(0)
    flat = torch.zeros(20_000, 3, 1, 1)
    assert coloured(flat).abs().max().item() == pytest.approx(0.5, abs=0.01)  # brightness alone moves a grey image
    grey = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2).expand(20_000, 3, 1, 2)
    spread = (lambda x: (x[..., 1] - x[..., 0]) / 2)(coloured(grey))[:, 0, 0]
    assert (spread.min().item(), spread.max().item()) == pytest.approx((0.5, 1.5), abs=0.01)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(20_000, 3, 1, 1)
    excess = (lambda x: x[:, 0] - x[:, 1])(coloured(red))
    assert excess.min().item() == pytest.approx(0, abs=0.01)
    assert excess.max().item() == pytest.approx(3, abs=0.05)  # saturation 2 times contrast 1.5


def test_diffaug_shifts_by_up_to_an_eighth_in_whole_pixels():
    torch.manual_seed(0)
    one = torch.zeros(500, 1, 16, 8)
    one[:, :, 8, 4] = 1
    where = translated(one).nonzero()
    assert len(where) == 500
    assert sorted(set((where[:, 2] - 8).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((where[:, 3] - 4).tolist())) == [-1, 0, 1]


def test_diffaug_cuts_out_a_rectangle_of_half_of_each_side():
    torch.manual_seed(0)
    cut = (cutout(torch.ones(500, 2, 16, 8)) == 0).all(1)
    assert cut.sum((1, 2)).max().item() == 8 * 4
    assert cut.any(2).sum(1).max().item() == 8
    assert cut.any(1).sum(1).max().item() == 4
    assert (cut.sum((1, 2)) > 0).all()
