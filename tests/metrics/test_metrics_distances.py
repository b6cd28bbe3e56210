"""Nearest points and balls against plain double loops, with copies, ties and awkward scales."""

import numpy as np
import pytest

from ltaug.data.imageset import ImageSet, MappedRows
from ltaug.metrics import distances
from ltaug.metrics.distances import frame_of, nearest, within
from ltaug.metrics.neighbours import fit_neighbours


def samples(kind):
    rng = np.random.default_rng(0)
    if kind == "pixels":
        return rng.integers(0, 256, (90, 12)).astype(np.uint8), rng.integers(0, 256, (70, 12)).astype(np.uint8)
    a, b = rng.normal(size=(90, 12)).astype(np.float32), rng.normal(size=(70, 12)).astype(np.float32)
    if kind == "copies":
        b[:20], a[:10], a[10:40] = b[0], b[0], b[30:60]
    scale, offset = {"far": (1e-3, 1000), "huge": (1e30, 0), "tiny": (1e-30, 0)}.get(kind, (1, 0))
    return (a * scale + offset).astype(np.float32), (b * scale + offset).astype(np.float32)


def squared(a, b):
    return np.square(np.subtract(a[:, None], b, dtype=np.float64)).sum(2)


@pytest.fixture(params=[2**24, 100], ids=["one-block", "many-blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK_PAIRS", request.param)


@pytest.mark.parametrize("kind", ["normal", "pixels", "copies", "far", "huge", "tiny"])
@pytest.mark.parametrize("k", [1, 5])
def test_the_nearest_are_those_of_exact_distances_ties_by_index(kind, k, blocks):
    a, b = samples(kind)
    frame = frame_of(a, b)
    wanted = squared(a, b)
    order = np.argsort(wanted, axis=1, kind="stable")[:, :k]
    index, found = nearest(frame.place(a), frame.place(b), k)
    assert index.tolist() == order.tolist()
    np.testing.assert_allclose(found, np.take_along_axis(wanted, order, 1), rtol=1e-12)


@pytest.mark.parametrize("kind", ["normal", "copies"])
def test_no_point_is_its_own_neighbour_but_its_copies_are(kind, blocks):
    _, b = samples(kind)
    wanted = squared(b, b)
    np.fill_diagonal(wanted, np.inf)
    cloud = frame_of(b).place(b)
    index, found = nearest(cloud, cloud, 3, but=np.arange(len(cloud.values)))
    assert index.tolist() == np.argsort(wanted, axis=1, kind="stable")[:, :3].tolist()
    assert (found[:20] == 0).all() == (kind == "copies")


@pytest.mark.parametrize("kind", ["normal", "pixels", "copies", "far", "huge", "tiny"])
def test_balls_are_closed_even_where_a_product_in_float32_could_not_tell(kind, blocks):
    a, b = samples(kind)
    frame, wanted = frame_of(a, b), squared(a, b)
    # Radii that end exactly on a point, and of 0.
    of_a, of_b = wanted[:, 33].copy(), wanted[20].copy()
    of_b[::7] = 0
    parts = list(within(frame.place(a), frame.place(b), of_a=of_a, of_b=of_b))
    assert np.concatenate([p.numpy() for _, p, _ in parts]).tolist() == (wanted <= of_a[:, None]).tolist()
    assert np.concatenate([p.numpy() for _, _, p in parts]).tolist() == (wanted <= of_b).tolist()
    assert [r for rows, _, _ in parts for r in range(*rows.indices(len(a)))] == list(range(len(a)))


def image_set(rows):
    images = np.array(rows, np.uint8).reshape(len(rows), 1, 1, -1)
    return ImageSet(images, np.zeros(len(rows), np.int64), ("a",), "real")


def test_the_nearest_real_image_and_its_distance_in_grey_levels():
    neighbours = fit_neighbours(image_set([[0, 0, 0], [10, 10, 10], [200, 200, 200]]))
    assert neighbours.between_real.tolist() == pytest.approx([10, 10, 190])
    assert neighbours.copy_threshold == pytest.approx(10)
    index, distance = neighbours.nearest(np.array([[[[10, 10, 10]]], [[[198, 200, 200]]]], np.uint8))
    assert index.tolist() == [1, 2]
    assert distance.tolist() == pytest.approx([0, np.sqrt(4 / 3)])
    assert distance[0] == 0


def test_a_mirrored_copy_is_a_copy_only_where_mirror_images_are_compared():
    real = image_set([[0, 100, 200], [50, 50, 50], [0, 110, 200]])
    mirrored = np.array([[[[200, 100, 0]]]], np.uint8)
    index, distance = fit_neighbours(real, mirrored=True).nearest(mirrored)
    assert (index.tolist(), distance.tolist()) == ([0], [0.0])
    assert fit_neighbours(real).nearest(mirrored)[1][0] > 50
    # A symmetric image is not its own neighbour by way of its mirror image.
    assert fit_neighbours(real, mirrored=True).between_real.min() > 5


def test_what_is_nearest_does_not_depend_on_the_batch():
    rng = np.random.default_rng(1)
    real = image_set(rng.integers(0, 256, (300, 48)))
    images = rng.integers(0, 256, (40, 1, 1, 48)).astype(np.uint8)
    neighbours = fit_neighbours(real)
    index, distance = neighbours.nearest(images)
    alone = [neighbours.nearest(image[None]) for image in images]
    assert index.tolist() == [int(i[0]) for i, _ in alone]
    assert distance.tolist() == [float(d[0]) for _, d in alone]


def test_one_real_image_has_no_distances_to_others_and_takes_no_copies():
    neighbours = fit_neighbours(image_set([[1, 2, 3]]))
    assert len(neighbours.between_real) == 0
    assert neighbours.copy_threshold == 0
    assert neighbours.nearest(np.array([[[[1, 2, 4]]]], np.uint8))[0].tolist() == [0]


@pytest.mark.parametrize("mirrored", [False, True])
def test_images_too_many_for_memory_have_the_same_neighbours(mirrored, tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (60, 3, 4, 4)).astype(np.uint8)
    images[7] = images[31]
    np.save(tmp_path / "images.npy", images)
    order = rng.permutation(60)
    rows = MappedRows(np.load(tmp_path / "images.npy", mmap_mode="r"), order)
    wanted = fit_neighbours(ImageSet(images[order], np.zeros(60, np.int64), ("a",), "held"), mirrored=mirrored)
    assert wanted.real.held is not None
    for name, value in (("distances.available_memory", lambda: 0), ("distances._PART_VALUES", 500), ("neighbours.BLOCK", 17)):
        monkeypatch.setattr(f"ltaug.metrics.{name}", value)
    found = fit_neighbours(ImageSet(rows, np.zeros(60, np.int64), ("a",), "mapped"), mirrored=mirrored)
    assert found.real.held is None
    assert len(list(found.real.parts())) > 2
    assert np.array_equal(found.real.frame.centre, wanted.real.frame.centre)
    assert found.between_real.tolist() == wanted.between_real.tolist()
    queries = rng.integers(0, 256, (50, 3, 4, 4)).astype(np.uint8)
    for theirs, ours in zip(wanted.nearest(queries), found.nearest(queries), strict=True):
        assert ours.tolist() == theirs.tolist()
