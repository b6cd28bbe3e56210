"""A merged set as a torch Dataset, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ltaug.data.sheet import to_picture
from ltaug.exporting.merged import Merged


class MergedSet(Dataset[tuple[Any, int]]):
    """Pairs of an image and its label: real images first, then synthetic ones.

    Attributes:
        classes: names; a label is a place among them.
        targets: the label of each image.
        sources: "real" or "synthetic" of each image.
        weights: `Merged.weights`, for WeightedRandomSampler.
    """

    def __init__(self, merged: Merged, transform: Callable[[Any], Any] | None = None) -> None:
        self._merged, self.transform = merged, transform
        self.classes = list(merged.class_names)
        self.targets: list[int] = merged.labels.tolist()
        self.sources = [merged.source(i) for i in range(len(merged))]
        self.weights = merged.weights

    def __len__(self) -> int:
        return len(self._merged)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        pixels = np.array(self._merged[range(len(self))[i]])  # a range knows negative numbers and its end
        if self.transform is not None:
            return self.transform(to_picture(pixels.transpose(1, 2, 0))), self.targets[i]
        return torch.from_numpy(pixels).float() / 255, self.targets[i]
