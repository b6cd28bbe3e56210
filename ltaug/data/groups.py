"""Many-, medium- and few-shot classes, by the field's thresholds or, where those do not apply, by thirds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MANY_ABOVE = 100
FEW_BELOW = 20


@dataclass(frozen=True)
class Groups:
    """Classes by how many training images they have: "many", "medium", "few" in this order without empty ones, or "all" alone."""

    members: dict[str, tuple[int, ...]]  # group name -> class indices, ascending
    rule: str  # how they were formed, in words


def by_frequency(counts: Sequence[int] | npt.NDArray[np.int64]) -> list[int]:
    """Class indices, most frequent first; of equal counts the lower index."""
    return [int(c) for c in np.argsort(-np.asarray(counts, dtype=np.int64), kind="stable")]


def class_groups(counts: Sequence[int] | npt.NDArray[np.int64]) -> Groups:
    """Group classes by their training images.

    Over 100, 20 to 100 and under 20 images (Liu et al., CVPR 2019) where each group gets at least two classes;
    otherwise thirds by rank, few the rarest K // 3; of equal counts the lower class index ranks as more frequent.
    """
    sizes = np.asarray(counts, dtype=np.int64)
    num_classes = len(sizes)
    assert num_classes > 0
    if sizes.min() == sizes.max():
        return Groups({"all": tuple(range(num_classes))}, f"all classes have {int(sizes[0])} training images")
    few, many = sizes < FEW_BELOW, sizes > MANY_ABOVE
    masks = {"many": many, "medium": ~few & ~many, "few": few}
    rule = f"more than {MANY_ABOVE}, {FEW_BELOW} to {MANY_ABOVE}, fewer than {FEW_BELOW} training images"
    if min(mask.sum() for mask in masks.values()) < 2:
        num_few = max(1, num_classes // 3)
        num_many = max(1, (num_classes - num_few) // 2)
        rank = np.empty(num_classes, dtype=np.int64)
        rank[by_frequency(sizes)] = np.arange(num_classes)
        few, many = rank >= num_classes - num_few, rank < num_many
        masks = {"many": many, "medium": ~few & ~many, "few": few}
        shares = ", ".join(f"{int(mask.sum())} {name}" for name, mask in masks.items() if mask.any())
        rule = f"thirds by training images ({shares}), as the thresholds {MANY_ABOVE} and {FEW_BELOW} do not separate this set"
    return Groups({name: tuple(np.flatnonzero(mask).tolist()) for name, mask in masks.items() if mask.any()}, rule)
