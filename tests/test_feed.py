"""Images for a device: resident or read from where they lie, the batches are the same."""

import threading

import numpy as np
import pytest
import torch

import ltaug.feed as feed_module
from ltaug.data.imageset import MappedRows
from ltaug.feed import AHEAD, Resident, Streamed, feed

CPU = torch.device("cpu")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=(pytest.mark.gpu, NO_GPU))]


def pixels(count, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, 3, 4, 5)).astype(np.uint8)


def mapped(path, images):
    np.save(path, images)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_streamed_batches_are_the_resident_ones_over_several_sets(tmp_path, device):
    order = np.random.RandomState(1).permutation(30)
    sets = [MappedRows(mapped(tmp_path / "a.npy", pixels(30)), order), pixels(7, seed=1), mapped(tmp_path / "b.npy", pixels(13))]
    merged = np.concatenate([np.asarray(images) for images in sets])
    batches = [torch.randint(0, 50, (6,), generator=torch.Generator().manual_seed(i)) for i in range(AHEAD + 5)]
    batches.append(torch.tensor([49, 0, 29, 30, 36, 37]))  # where sets meet
    for limit, kind in ((1, Streamed), (2**30, Resident)):
        images = feed(*sets, device=device, limit=limit)
        assert isinstance(images, kind)
        found = list(images.batches(batches))
        assert len(found) == len(batches)
        for wanted, (index, batch) in zip(batches, found, strict=True):
            assert index.device.type == batch.device.type == device.type
            assert torch.equal(index.cpu(), wanted)
            assert np.array_equal(batch.cpu().numpy(), merged[wanted.numpy()])


def test_a_set_is_resident_only_below_a_quarter_of_the_memory_there_is(monkeypatch):
    images = pixels(10)
    for available, kind in ((4 * images.nbytes, Streamed), (4 * images.nbytes + 4, Resident)):
        monkeypatch.setattr(feed_module, "available_memory", lambda there=available: there)
        assert isinstance(feed(images, device=CPU), kind)


def test_a_set_of_many_blocks_is_resident_whole(monkeypatch):
    monkeypatch.setattr(feed_module, "BLOCK", 4)
    sets = [pixels(10), pixels(5, seed=1)]
    images = feed(*sets, device=CPU, limit=2**30)
    assert isinstance(images, Resident)
    assert np.array_equal(images.images.numpy(), np.concatenate(sets))


def test_reading_keeps_a_few_batches_ahead_and_ends_with_who_asked():
    asked = []
    before = threading.active_count()

    def indices():
        for i in range(1000):
            asked.append(i)
            yield torch.tensor([i % 10])

    for taken, _ in enumerate(feed(pixels(10), device=CPU, limit=0).batches(indices())):
        assert len(asked) == taken + 1 + AHEAD
        if taken == 5:
            break
    assert len(asked) == 6 + AHEAD
    assert threading.active_count() == before


def test_an_image_that_is_not_there_is_an_error_and_no_hang():
    batches = [torch.tensor([0]), torch.tensor([10]), *[torch.tensor([1])] * 20]
    with pytest.raises(AssertionError, match="there are 10 images"):
        list(feed(pixels(10), device=CPU, limit=0).batches(batches))
