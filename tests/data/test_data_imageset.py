"""Sets of images: rows of a memory map behave as the arrays they stand for, and digests tell content from content."""

import dataclasses

import numpy as np
import pytest

from ltaug.data.imageset import ImageSet, MappedRows, hash_images


@pytest.fixture
def pixels():
    return np.random.RandomState(0).randint(0, 256, (20, 3, 4, 5)).astype(np.uint8)


@pytest.fixture
def on_disk(pixels, tmp_path):
    np.save(tmp_path / "images.npy", pixels)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def image_set(images, **changes):
    labels = np.arange(len(images), dtype=np.int64) % 4
    return dataclasses.replace(ImageSet(images, labels, tuple("abcd"), "noise"), **changes)


def test_taken_from_a_map_images_stay_there_and_are_those_an_array_gives(pixels, on_disk):
    first, second = np.array([3, 19, 0, 3, 7]), np.array([4, 0, 1])
    taken, wanted = (image_set(images).take(first).take(second) for images in (on_disk, pixels))
    assert isinstance(taken.images, MappedRows)
    assert taken.images.array is on_disk
    assert taken.labels.tolist() == wanted.labels.tolist()
    assert taken.images.shape == wanted.images.shape
    assert taken.images.nbytes == wanted.images.nbytes
    assert taken.image_shape == (3, 4, 5)
    for rows in (1, slice(0, 2), slice(None), np.array([2, 2, 0])):
        assert np.array_equal(taken.images[rows], wanted.images[rows])
    assert np.array_equal(np.asarray(taken.images), wanted.images)
    assert np.array_equal(np.stack(list(taken.images)), wanted.images)
    assert taken.digest == wanted.digest


def test_a_slice_of_a_map_is_taken_from_as_well(pixels, on_disk):
    part = image_set(on_disk[5:]).take(np.array([0, 14]))
    assert np.array_equal(part.images[:], pixels[[5, 19]])


def test_a_digest_is_of_content_in_order_with_its_labels_and_names(pixels):
    one = image_set(pixels)
    changed = pixels.copy()
    changed[19, 2, 3, 4] ^= 1
    others = [
        image_set(changed),
        image_set(pixels.reshape(20, 3, 5, 4)),
        image_set(pixels, labels=np.zeros(20, np.int64)),
        image_set(pixels, class_names=tuple("abce")),
        image_set(pixels[::-1].copy(), labels=one.labels),
        one.take(np.arange(19)),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 7
    assert image_set(pixels.copy(), source="elsewhere").digest == one.digest


def test_hashes_that_are_known_give_the_digest_that_the_pixels_give(pixels, on_disk, monkeypatch):
    plain, known = image_set(pixels), image_set(on_disk, known_hashes=hash_images(pixels))
    rows = np.array([9, 2, 2, 17])
    wanted = plain.digest, plain.take(rows).digest
    monkeypatch.setattr("ltaug.data.imageset.hash_images", None)
    assert (known.digest, known.take(rows).digest) == wanted


def test_images_are_hashed_block_by_block(pixels, monkeypatch):
    whole = hash_images(pixels)
    monkeypatch.setattr("ltaug.data.imageset.BLOCK", 7)
    assert np.array_equal(hash_images(pixels), whole)
