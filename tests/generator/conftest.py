"""A tiny long-tailed set and the smallest generator options that exercise everything."""

import numpy as np
import pytest
import torch

from ltaug.data.imageset import ImageSet
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime


@pytest.fixture
def cpu():
    return Runtime(torch.device("cpu"), None)


@pytest.fixture
def tiny_set():
    labels = np.repeat(np.arange(3), [6, 3, 1]).astype(np.int64)
    images = np.random.RandomState(0).randint(0, 256, (10, 1, 8, 8)).astype(np.uint8)
    return ImageSet(images, labels, ("a", "b", "c"), "tiny")


@pytest.fixture
def tiny_options():
    return GeneratorOptions(
        channels=8, channel_mults=(1, 2), blocks=1, attention=(), dropout=0.1, steps=8, batch_size=4, warmup=2, checkpoint_every=3
    )
