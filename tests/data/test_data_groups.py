"""Many, medium and few: thresholds where they separate, thirds where they do not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltaug.data.groups import class_groups
from ltaug.data.longtail import class_sizes


def test_cifar100_lt_has_the_published_groups():
    groups = class_groups(class_sizes(500, 100, imbalance=100, profile="exp"))
    assert {name: len(members) for name, members in groups.members.items()} == {"many": 35, "medium": 35, "few": 30}
    assert groups.rule == "more than 100, 20 to 100, fewer than 20 training images"


@pytest.mark.parametrize("head", [5000, 120])
def test_sets_that_the_thresholds_do_not_separate_are_cut_into_thirds(head):
    groups = class_groups(class_sizes(head, 10, imbalance=100, profile="exp"))
    assert groups.members == {"many": (0, 1, 2), "medium": (3, 4, 5, 6), "few": (7, 8, 9)}
    assert groups.rule.startswith("thirds by training images (3 many, 4 medium, 3 few)")


def test_thirds_follow_counts_and_not_class_indices():
    assert class_groups([1, 9, 3]).members == {"many": (1,), "medium": (2,), "few": (0,)}


def test_of_equal_counts_the_later_class_is_rarer():
    assert class_groups([5, 9, 5, 5]).members == {"many": (1,), "medium": (0, 2), "few": (3,)}


def test_two_classes_are_many_and_few():
    assert class_groups([3, 8]).members == {"many": (1,), "few": (0,)}


def test_the_thresholds_themselves_are_medium():
    members = class_groups([101, 101, 100, 20, 19, 19]).members
    assert members == {"many": (0, 1), "medium": (2, 3), "few": (4, 5)}


def test_a_balanced_set_is_one_group():
    assert class_groups([7, 7, 7]).members == {"all": (0, 1, 2)}


@given(st.lists(st.integers(0, 600), min_size=1, max_size=30))
def test_every_class_is_in_one_group_and_groups_are_ordered_by_count(counts):
    members = class_groups(counts).members
    assert sorted(c for group in members.values() for c in group) == list(range(len(counts)))
    ordered = [members[name] for name in ("many", "medium", "few") if name in members]
    for upper, lower in pairwise(ordered):
        assert min(counts[c] for c in upper) >= max(counts[c] for c in lower)
