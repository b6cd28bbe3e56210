"""Augmentation: conformance of every entry, and what exactly each of them does."""

import numpy as np
import pytest
import torch

from ltaug.classifier.augment import build_augmentation, crop_flip, shift, shift_rotate
from ltaug.errors import OptionError
from ltaug.methods import CLASSIFIER_AUGMENTATIONS

NAMES = [*CLASSIFIER_AUGMENTATIONS, "crop-flip+randaugment"]
DIGIT_SAFE = [name for name in CLASSIFIER_AUGMENTATIONS if name != "crop-flip"]


def coded(*shape):
    """Random uint8 values as network input."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).float() / 127.5 - 1


@pytest.mark.parametrize("shape", [(9, 1, 8, 8), (9, 3, 32, 20)])
@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_keeps_shape_range_and_dtype_and_repeats_with_its_seed(name, shape):
    x = coded(*shape)
    before = x.clone()
    torch.manual_seed(3)
    first = build_augmentation(name)(x)
    torch.manual_seed(3)
    again = build_augmentation(name)(x)
    assert first.shape == x.shape
    assert first.dtype == torch.float32
    assert first.min() >= -1 - 1e-5
    assert first.max() <= 1 + 1e-5
    assert torch.equal(first, again)
    assert torch.equal(x, before), "the input was written to"
    torch.manual_seed(4)
    assert name == "none" or not torch.equal(first, build_augmentation(name)(x))


@pytest.mark.parametrize("name", DIGIT_SAFE)
def test_augmentations_for_digits_never_mirror(name):
    x = torch.full((400, 1, 16, 16), -1.0)
    x[:, :, 4:12, 4:8] = 1.0  # the left half of the middle
    torch.manual_seed(0)
    y = build_augmentation(name)(x)
    weight = y - y.amin((1, 2, 3), keepdim=True)
    mass = weight.sum((1, 2, 3))
    place = (weight * torch.arange(16)).sum((1, 2, 3)) / mass
    contrast = y.amax((1, 2, 3)) - y.amin((1, 2, 3)) > 0.5
    # RandAugment's Solarize inverts, which moves the centre of what is bright: judge the images it leaves dark outside.
    upright = contrast & (y[:, 0, :, 15].mean(1) < 0)
    assert upright.sum() > 200
    assert place[upright].mean() < 7


def test_a_shift_moves_whole_pixels_by_up_to_an_eighth_and_brings_in_black():
    x = coded(500, 1, 16, 16)
    torch.manual_seed(0)
    moves = set()
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), value=-1.0)
    for i, image in enumerate(shift(x)):
        same = [(a, b) for a in range(5) for b in range(5) if torch.equal(image, padded[i, :, a : a + 16, b : b + 16])]
        assert len(same) == 1
        moves.add(same[0])
    assert len(moves) == 25


def test_crop_flip_mirrors_half_of_the_images():
    x = torch.full((1000, 1, 16, 16), -1.0)
    x[:, :, :, 4:6] = 1.0
    torch.manual_seed(0)
    right = crop_flip(x)[:, 0, :, 8:].amax((1, 2)) > 0
    assert 0.44 < right.float().mean() < 0.56


def test_shift_rotate_without_a_draw_is_the_identity(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.zero_())
    x = coded(4, 3, 8, 8)
    torch.testing.assert_close(shift_rotate(x), x, atol=1e-5, rtol=0)


def test_shift_rotate_turns_by_its_angle_rigidly_on_images_that_are_not_square(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.copy_(torch.tensor([[1.0], [0], [0], [0]])))
    x = torch.full((1, 1, 33, 65), -1.0)
    x[0, 0, 16, 48] = 1.0  # 16 pixels right of the centre
    y = shift_rotate(x, degrees=30) + 1
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(65.0), indexing="ij")
    row, column = float((y[0, 0] * rows).sum() / y.sum()) - 16, float((y[0, 0] * columns).sum() / y.sum()) - 32
    assert np.hypot(row, column) == pytest.approx(16, abs=0.3)
    assert abs(np.degrees(np.arctan2(row, column))) == pytest.approx(30, abs=1)


@pytest.mark.parametrize("name", ["crop-flop", "shift+", "none+flip"])
def test_an_unknown_augmentation_is_refused(name):
    with pytest.raises(OptionError, match="unknown"):
        build_augmentation(name)


def test_randaugment_says_that_it_needs_grey_or_colour():
    with pytest.raises(OptionError, match="4 channels"):
        build_augmentation("randaugment")(coded(2, 4, 8, 8))
