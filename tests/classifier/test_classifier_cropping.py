"""Crops of any size and erased parts, against torchvision's and timm's."""

import itertools

import pytest
import torch
from timm.data.random_erasing import RandomErasing
from torchvision.transforms import RandomResizedCrop, v2

from ltaug.classifier import cropping
from ltaug.classifier.batches import Batch
from ltaug.classifier.cropping import erase, resampled, resized_crop

GREY = torch.zeros(2, 1)


def batch_of(images):
    nothing = torch.zeros(len(images), dtype=torch.long)
    return Batch(images, nothing, nothing, GREY)


def shown(images):
    """The rows and columns that crops of ramps show: first and last of each, (B, 2, 2)."""
    return torch.stack([images[:, :, 0, 0], images[:, :, -1, -1]], dim=2)


def ramps(count, height, width):
    """Images whose channels hold the row and the column of each pixel."""
    grid = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack(grid).expand(count, -1, -1, -1)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("h", "w"), [(20, 20), (9, 32)])
def test_a_crop_is_enlarged_as_torchvision_does(h, w, antialias):
    torch.manual_seed(0)
    images = torch.rand(6, 3, h, w) * 2 - 1
    crops = [(0, h, 0, w), (2, 5, 3, 4), (0, 1, 0, 1), (h - 3, 3, w - 7, 7), (1, h - 1, 0, 2), (4, 2, w - 1, 1)]
    found = resampled(images, *(torch.tensor(part, dtype=torch.float32) for part in zip(*crops, strict=True)))
    for image, ours, (top, height, left, width) in zip(images, found, crops, strict=True):
        theirs = v2.functional.resized_crop(image, top, left, height, width, [h, w], antialias=antialias)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("h", "w"), [(24, 24), (12, 40), (40, 12)])
def test_crops_have_the_areas_shapes_and_places_of_torchvisions(h, w):
    n = 4000
    images = ramps(n, h, w)
    torch.manual_seed(0)
    ours = shown(resized_crop(batch_of(images), crop_scale=0.3).images)
    drawn = [RandomResizedCrop.get_params(images[0], [0.3, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
    theirs = torch.tensor([[[top, top + height - 1], [left, left + width - 1]] for top, left, height, width in drawn]).float()
    for side, end in itertools.product(range(2), range(2)):
        one, other = ours[:, side, end], theirs[:, side, end]
        assert float(one.mean()) == pytest.approx(float(other.mean()), abs=0.25)
        assert float(one.std()) == pytest.approx(float(other.std()), abs=0.25)


def test_a_crop_that_must_show_the_whole_image_leaves_a_square_one_nearly_as_it_is_and_clips_a_long_one():
    torch.manual_seed(0)
    square = shown(resized_crop(batch_of(ramps(200, 10, 10)), crop_scale=1.0).images)
    assert (square[:, :, 1] - square[:, :, 0] == 9).all()
    torch.manual_seed(0)
    long = shown(resized_crop(batch_of(ramps(200, 30, 9)), crop_scale=1.0).images)
    assert (long[:, 0, 1] - long[:, 0, 0] == 11).all()
    assert (long[:, 1, 1] - long[:, 1, 0] == 8).all()


def test_a_quarter_of_the_images_lose_a_rectangle_as_large_and_long_as_timms(monkeypatch):
    n, side = 4000, 32
    images = torch.full((n, 1, side, side), 3.0)

    def rectangles(erased):
        gone = (erased != 3).squeeze(1)
        rows, columns = gone.any(2).sum(1).float(), gone.any(1).sum(1).float()
        hit = rows > 0
        assert torch.equal((rows * columns)[hit], gone.sum((1, 2)).float()[hit])
        return rows[hit], columns[hit], hit.float().mean()

    torch.manual_seed(0)
    assert float(rectangles(erase(batch_of(images)).images)[2]) == pytest.approx(0.25, abs=0.02)
    monkeypatch.setattr(cropping, "ERASED", 1.0)
    ours = rectangles(erase(batch_of(images)).images)
    theirs = rectangles(RandomErasing(probability=1, mode="pixel", device="cpu")(images.clone()))
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert float(one.mean()) == pytest.approx(float(other.mean()), abs=0.4)
        assert float(one.std()) == pytest.approx(float(other.std()), abs=0.4)


def test_what_is_erased_is_noise_over_the_range_of_images(monkeypatch):
    monkeypatch.setattr(cropping, "ERASED", 1.0)
    torch.manual_seed(0)
    found = erase(batch_of(torch.full((500, 3, 16, 16), 3.0))).images
    noise = found[found != 3]
    assert -1 <= noise.min() < -0.99
    assert 0.99 < noise.max() <= 1
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
