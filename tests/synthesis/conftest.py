"""A small untrained generator, and the real images that it is to join."""

from pathlib import Path

import numpy as np
import pytest
import torch
from making import NAMES

from ltaug.data.imageset import ImageSet
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import Generator
from ltaug.options import GeneratorOptions


@pytest.fixture(scope="session")
def generator():
    torch.manual_seed(0)
    options = GeneratorOptions(channels=8, channel_mults=(1,), blocks=1, attention=(), dropout=0.0)
    denoiser = build_denoiser(options, image_shape=(1, 8, 8), num_classes=3).eval().requires_grad_(False)
    for p in denoiser.parameters():
        p.add_(0.05 * torch.randn_like(p))
    return Generator(denoiser, NAMES, (1, 8, 8), "d" * 64, Path("generator"), 1)


@pytest.fixture(scope="session")
def real():
    images = np.random.RandomState(0).randint(0, 256, (12, 1, 8, 8)).astype(np.uint8)
    return ImageSet(images, np.repeat([0, 1, 2], [8, 3, 1]).astype(np.int64), NAMES, "real")
