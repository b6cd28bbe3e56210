"""Augmentation: conformance of every entry, and what exactly each of them does."""

import numpy as np
import pytest
import torch

from ltaug.classifier.augment import build_augmentation, shift, shift_rotate
from ltaug.classifier.batches import Batch
from ltaug.classifier.losses import build_loss
from ltaug.classifier.mixing import mixup
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.methods import CLASSIFIER_AUGMENTATIONS, LOSSES
from ltaug.options import ClassifierOptions

NAMES = [*CLASSIFIER_AUGMENTATIONS, "crop-flip+randaugment", "mixup+crop-flip+mixup"]
DIGIT_SAFE = [name for name in CLASSIFIER_AUGMENTATIONS if "flip" not in name]
COUNTS = torch.tensor([[90, 9, 1], [0, 30, 70]])


def coded(*shape):
    """Random uint8 values as network input."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).float() / 127.5 - 1


def batch_of(images):
    """Labels and sources in turns; source 1 has no class 0."""
    turns = torch.arange(len(images))
    return Batch(images, torch.where(turns % 2 == 1, 1 + turns % 4 // 2, turns % 3), turns % 2, COUNTS)


def augmented(name, batch, *, seed):
    torch.manual_seed(seed)
    return build_augmentation(ClassifierOptions(augment=name))(batch)


@pytest.mark.parametrize("shape", [(9, 1, 8, 8), (9, 3, 32, 20)])
@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_keeps_shape_range_and_dtype_and_repeats_with_its_seed(name, shape):
    given = batch_of(coded(*shape))
    before = [part.clone() for part in given]
    first, again = (augmented(name, given, seed=3) for _ in range(2))
    assert first.images.shape == shape
    assert first.images.dtype == torch.float32
    assert first.images.min() >= -1 - 1e-5
    assert first.images.max() <= 1 + 1e-5
    assert all(torch.equal(mine, other) for mine, other in zip(first, again, strict=True))
    assert all(torch.equal(mine, other) for mine, other in zip(given, before, strict=True)), "the input was written to"
    assert name == "none" or not torch.equal(first.images, augmented(name, given, seed=4).images)


@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_leaves_labels_and_sources_alone_or_turns_both_into_weights_that_sum_to_1(name):
    given = batch_of(coded(9, 1, 8, 8))
    found = augmented(name, given, seed=3)
    assert found.class_counts is COUNTS
    assert ("mix" in name) <= found.labels.is_floating_point()
    if not found.labels.is_floating_point():
        assert found.labels is given.labels
        assert found.sources is given.sources
        return
    for weights, size in ((found.labels, 3), (found.sources, 2)):
        assert weights.shape == (9, size)
        assert weights.dtype == torch.float32
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(9))
    mixed = "sources" if name.startswith("class-") else "labels"  # with a partner of the same class the label stays
    assert not torch.equal(getattr(found, mixed), getattr(augmented(name, given, seed=4), mixed))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NAMES)
def test_every_loss_takes_what_every_augmentation_makes_of_labels_where_a_source_lacks_a_class(name, loss):
    found = augmented(name, batch_of(coded(64, 1, 8, 8)), seed=0)
    logits = torch.randn(64, 3, requires_grad=True)
    losses = build_loss(ClassifierOptions(loss=loss), class_counts=COUNTS)(logits, found.labels, found.sources)
    losses.sum().backward()
    assert losses.shape == (64,)
    assert losses.isfinite().all()
    assert (losses >= 0).all()
    assert logits.grad.isfinite().all()
    assert (logits.grad.abs().sum(1) > 0).all()


def test_a_mixed_batch_by_hand():
    given = Batch(torch.zeros(2, 1, 1, 1), torch.tensor([2, 0]), torch.tensor([1, 0]), COUNTS)
    images, partner = torch.ones(2, 1, 1, 1), torch.tensor([1, 0])
    once = given.mixed(images, partner=partner, share=torch.tensor([0.75, 1.0]))
    assert once.images is images
    assert once.labels.tolist() == [[0.25, 0, 0.75], [1, 0, 0]]
    assert once.sources.tolist() == [[0.25, 0.75], [1, 0]]
    twice = once.mixed(images, partner=partner, share=torch.tensor([0.5, 0.5]))
    assert twice.labels.tolist() == [[0.625, 0, 0.375]] * 2
    assert twice.sources.tolist() == [[0.625, 0.375]] * 2


def test_mixup_mixes_images_labels_and_sources_of_pairs_by_the_same_share():
    x = coded(50, 1, 4, 4)
    torch.manual_seed(0)
    found = mixup(Batch(x, torch.arange(50), torch.arange(50) % 2, torch.ones(2, 50, dtype=torch.long)), alpha=1.0)
    weights = found.labels  # every image has a class of its own, so these are the shares of the images
    torch.testing.assert_close(found.images.flatten(1), weights @ x.flatten(1))
    torch.testing.assert_close(found.sources, weights @ torch.eye(2).repeat(25, 1))
    partners = weights.clone().fill_diagonal_(0) > 0
    assert partners.sum(0).max() == partners.sum(1).max() == 1  # a permutation
    assert partners.sum() > 40


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_the_shares_of_mixup_have_mean_and_variance_of_their_beta_distribution(alpha):
    n = 3000
    torch.manual_seed(0)
    batch = Batch(torch.zeros(n, 1, 1, 1), torch.arange(n), torch.zeros(n, dtype=torch.long), torch.ones(2, n))
    share = mixup(batch, alpha=alpha).labels.diagonal()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(share.var()) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.1)


def test_an_augmentation_gets_its_own_options_and_no_others(monkeypatch):
    got = {}
    for name in ("shift", "mixup"):
        monkeypatch.setitem(
            CLASSIFIER_AUGMENTATIONS.entries, name, lambda batch, name=name, **given: got.update({name: given}) or batch
        )
    options = resolve(ClassifierOptions, {"augment": "shift+mixup", "mixup_alpha": 0.2}, image_side=32)
    build_augmentation(options)(batch_of(coded(2, 1, 4, 4)))
    assert got == {"shift": {}, "mixup": {"alpha": 0.2}}
    assert list(got) == ["shift", "mixup"]
    with pytest.raises(OptionError, match=r"--mixup-alpha 0.2 is read only with --augment shift\+mixup"):
        resolve(ClassifierOptions, {"augment": "shift", "mixup_alpha": 0.2}, image_side=32)


@pytest.mark.parametrize("name", DIGIT_SAFE)
def test_augmentations_for_digits_never_mirror(name):
    x = torch.full((400, 1, 16, 16), -1.0)
    x[:, :, 4:12, 4:8] = 1.0  # the left half of the middle
    y = augmented(name, batch_of(x), seed=0).images
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
    for i, image in enumerate(shift(batch_of(x)).images):
        same = [(a, b) for a in range(5) for b in range(5) if torch.equal(image, padded[i, :, a : a + 16, b : b + 16])]
        assert len(same) == 1
        moves.add(same[0])
    assert len(moves) == 25


@pytest.mark.parametrize("name", ["flip", "crop-flip"])
def test_flips_mirror_half_of_the_images(name):
    x = torch.full((1000, 1, 16, 16), -1.0)
    x[:, :, :, 4:6] = 1.0
    right = augmented(name, batch_of(x), seed=0).images[:, 0, :, 8:].amax((1, 2)) > 0
    assert 0.44 < right.float().mean() < 0.56


def test_shift_rotate_without_a_draw_is_the_identity(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.zero_())
    x = coded(4, 3, 8, 8)
    torch.testing.assert_close(shift_rotate(batch_of(x)).images, x, atol=1e-5, rtol=0)


def test_shift_rotate_turns_by_its_angle_rigidly_on_images_that_are_not_square(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.copy_(torch.tensor([[1.0], [0], [0], [0]])))
    x = torch.full((1, 1, 33, 65), -1.0)
    x[0, 0, 16, 48] = 1.0  # 16 pixels right of the centre
    y = shift_rotate(batch_of(x), degrees=30).images + 1
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(65.0), indexing="ij")
    row, column = float((y[0, 0] * rows).sum() / y.sum()) - 16, float((y[0, 0] * columns).sum() / y.sum()) - 32
    assert np.hypot(row, column) == pytest.approx(16, abs=0.3)
    assert abs(np.degrees(np.arctan2(row, column))) == pytest.approx(30, abs=1)


@pytest.mark.parametrize("name", ["crop-flop", "shift+", "none+flop"])
def test_an_unknown_augmentation_is_refused(name):
    with pytest.raises(OptionError, match="unknown"):
        build_augmentation(ClassifierOptions(augment=name))


def test_randaugment_says_that_it_needs_grey_or_colour():
    with pytest.raises(OptionError, match="4 channels"):
        augmented("randaugment", batch_of(coded(2, 4, 8, 8)), seed=0)
