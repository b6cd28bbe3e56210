"""inspect_dataset: what `ltaug inspect` shows, as plain JSON values."""

from __future__ import annotations

from typing import Any

from ltaug.data.groups import class_groups
from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset


def inspect_dataset(dataset: Dataset) -> dict[str, Any]:
    """Counts, groups, imbalance, notes, digests and exact duplicates of a dataset.

    The imbalance factor is the largest class over the smallest. Duplicates are images with the very same pixels:
    within_train counts each copy after the first, test_in_train counts test images that are also training images.
    """
    train, test = dataset.train, dataset.test
    groups = class_groups(train.class_counts)
    train_pixels, test_pixels = ([row.tobytes() for row in images.hashes] for images in (train, test))
    distinct = set(train_pixels)
    return {
        "source": train.source,
        "image_shape": list(train.image_shape),
        "classes": list(train.class_names),
        "train": {"images": len(train), "per_class": _per_class(train), "digest": train.digest},
        "test": {"images": len(test), "per_class": _per_class(test), "digest": test.digest},
        "rest": None if dataset.rest is None else {"images": len(dataset.rest)},
        "imbalance": float(train.class_counts.max() / train.class_counts.min()),
        "groups": {name: [train.class_names[c] for c in members] for name, members in groups.members.items()},
        "groups_rule": groups.rule,
        "duplicates": {
            "within_train": len(train_pixels) - len(distinct),
            "test_in_train": sum(pixels in distinct for pixels in test_pixels),
        },
        "notes": list(dataset.notes),
    }


def _per_class(images: ImageSet) -> dict[str, int]:
    return dict(zip(images.class_names, images.class_counts.tolist(), strict=True))
