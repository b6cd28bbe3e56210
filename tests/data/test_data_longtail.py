"""The draw is the field's, bit for bit; the split is fixed; sizes are refused with the limit."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltaug.data.imageset import ImageSet
from ltaug.data.longtail import class_sizes, draw, hold_out, largest_head, resample, shuffled_ranks
from ltaug.errors import OptionError


@pytest.mark.parametrize(
    ("head", "num_classes", "imbalance", "total"),
    [(5000, 10, 100, 12406), (5000, 10, 50, 13996), (5000, 10, 1000, 9324), (500, 100, 100, 10847), (500, 100, 50, 12608)],
)
def test_exponential_sizes_sum_to_the_published_totals(head, num_classes, imbalance, total):
    assert class_sizes(head, num_classes, imbalance=imbalance, profile="exp").sum() == total


def test_exponential_sizes_are_the_published_cifar10_counts():
    sizes = class_sizes(5000, 10, imbalance=100, profile="exp")
    assert sizes.dtype == np.int64
    assert sizes.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_step_sizes_are_half_head_and_half_tail():
    assert class_sizes(500, 5, imbalance=10, profile="step").tolist() == [500, 500, 50, 50, 50]


def test_head_equal_to_imbalance_leaves_one_image_despite_rounding():
    assert int(49 * (1 / 49)) == 0, "the rounding this guards against"
    assert class_sizes(49, 10, imbalance=49, profile="exp")[-1] == 1


def test_a_class_without_images_is_refused_with_both_limits():
    with pytest.raises(OptionError, match=r"--imbalance of at most 60 or --head of at least 100"):
        class_sizes(60, 10, imbalance=100, profile="exp")


@pytest.mark.parametrize(("head", "num_classes", "prefix"), [(5000, 10, "f5a6ab138b23b845"), (500, 100, "b56cfff7465dadc1")])
def test_the_draw_selects_the_published_indices(head, num_classes, prefix):
    labels = np.repeat(np.arange(num_classes), head)
    index = draw(labels, class_sizes(head, num_classes, imbalance=100, profile="exp"), seed=0)
    assert hashlib.sha256(index.astype("<i8").tobytes()).hexdigest().startswith(prefix)


@given(st.data(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_draw_has_the_sizes_asked_for_and_no_image_twice(data, seed):
    counts = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    sizes = np.array([data.draw(st.integers(0, n)) for n in counts])
    labels = np.random.RandomState(1).permutation(np.repeat(np.arange(len(counts)), counts))
    index = draw(labels, sizes, seed=seed)
    assert len(set(index.tolist())) == len(index)
    assert np.bincount(labels[index], minlength=len(counts)).tolist() == sizes.tolist()
    assert (np.diff(labels[index]) >= 0).all()


@given(
    st.lists(st.integers(1, 300), min_size=2, max_size=12),
    st.floats(1, 200),
    st.sampled_from(["exp", "step"]),
)
@settings(max_examples=60)
def test_largest_head_fits_and_the_next_does_not(counts, imbalance, profile):
    counts = np.array(counts)
    head = largest_head(counts, imbalance=imbalance, profile=profile)
    if head >= imbalance:
        assert (class_sizes(head, len(counts), imbalance=imbalance, profile=profile) <= counts).all()
    if head + 1 >= imbalance:
        assert (class_sizes(head + 1, len(counts), imbalance=imbalance, profile=profile) > counts).any()


def test_shuffled_ranks_are_a_permutation_that_follows_the_seed():
    assert sorted(shuffled_ranks(10, seed=3).tolist()) == list(range(10))
    assert shuffled_ranks(10, seed=3).tolist() == shuffled_ranks(10, seed=3).tolist()
    assert len({tuple(shuffled_ranks(10, seed=s).tolist()) for s in range(20)}) == 20


def test_shuffled_ranks_have_a_stream_of_their_own_that_stays_as_it_is():
    assert shuffled_ranks(10, seed=0).tolist() == [9, 4, 0, 8, 1, 5, 3, 2, 6, 7]
    assert shuffled_ranks(10, seed=0).tolist() != np.random.RandomState(0).permutation(10).tolist()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_outside_numpys_range_is_refused(seed):
    with pytest.raises(OptionError, match="4294967295"):
        draw(np.zeros(3, dtype=np.int64), np.array([1]), seed=seed)


def numbered(counts):
    """Images whose first pixel is their number, the classes mixed."""
    labels = np.random.RandomState(1).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ImageSet(images, labels, tuple("abcdef"[: len(counts)]), "numbered")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50)), min_size=1, max_size=6), st.integers(0, 2**63 - 1))
@settings(max_examples=60)
def test_every_image_is_drawn_again_equally_often_but_for_one(classes, seed):
    images, wanted = numbered([n for n, _ in classes]), [count for _, count in classes]
    again = resample(images, wanted, seed=seed)
    assert again.class_counts.tolist() == [count if n else 0 for n, count in classes], "a class without images gives none"
    assert (again.labels == images.labels[again.images.ravel()]).all(), "images keep their labels"
    times = np.bincount(again.images.ravel(), minlength=len(images))
    for label, (n, count) in enumerate(classes):
        of_class = times[images.labels == label]
        assert sorted(of_class) == [count // n] * (n - count % n) + [count // n + 1] * (count % n) if n else of_class.size == 0


def test_the_seed_decides_which_images_are_drawn_once_more_and_other_classes_do_not():
    images = numbered([12, 7])
    again = [resample(images, [5, 30], seed=s) for s in (0, 0, 1)]
    first, same, other = (set(r.images[r.labels == 0].ravel().tolist()) for r in again)
    assert again[0].digest == again[1].digest
    assert first == same != other
    assert set(resample(images, [5, 0], seed=0).images.ravel().tolist()) == first


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
@settings(max_examples=40)
def test_a_fifth_is_held_out_and_every_class_keeps_a_training_image(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test, notes = hold_out(labels, tuple("abcde"[: len(counts)]), per_class=None)
    assert sorted([*train, *test]) == list(range(len(labels)))
    held = np.bincount(labels[test], minlength=len(counts))
    assert held.tolist() == [0 if n == 1 else max(1, round(0.2 * n)) for n in counts]
    assert (np.bincount(labels[train], minlength=len(counts)) >= 1).all()
    assert any("too few" in note for note in notes) == (1 in counts)


def test_holding_out_more_than_a_class_has_is_refused_with_the_limit():
    labels = np.repeat([0, 1], [10, 5])
    with pytest.raises(OptionError, match=r"'b' no training image, it has 5; use at most 4"):
        hold_out(labels, ("a", "b"), per_class=5)
    assert len(hold_out(labels, ("a", "b"), per_class=4)[1]) == 8
