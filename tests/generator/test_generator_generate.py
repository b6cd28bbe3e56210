"""Images in batches: how many at a time, and what running out of memory changes (nothing that can be seen)."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltaug.errors import LtaugError
from ltaug.fields import resolve
from ltaug.generator.batching import LARGEST, ON_CPU, SHARE, BatchSize, batch_for, fitting
from ltaug.generator.denoiser import Denoised
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import Generator, generate, open_generated
from ltaug.generator.preconditioning import VP
from ltaug.generator.sampling import Sampling
from ltaug.generator.space import PIXELS
from ltaug.options import GeneratorOptions, SamplingOptions
from ltaug.runtime import Runtime

CPU = Runtime(torch.device("cpu"), None)
KEYS = [(i % 3, i) for i in range(13)]


class Elementwise:
    """Denoises every pixel by itself, and has memory for `room` images."""

    null_label = 3

    def __init__(self, room):
        self.preconditioning, self.space = VP(), PIXELS
        self.room = room
        self.sizes = []

    def __call__(self, x, sigma, labels):
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        x0 = (x / (1 + sigma[:, None, None, None]) + labels[:, None, None, None]).tanh()
        return Denoised(x0=x0, eps=(x - x0) / sigma[:, None, None, None], features=x)


class LittleRoom(torch.nn.Module):
    """A real network that has memory for `room` images."""

    def __init__(self, network, room):
        super().__init__()
        self.network, self.room = network, room
        self.preconditioning, self.null_label, self.space = network.preconditioning, network.null_label, PIXELS

    def forward(self, x, sigma, labels):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(x, sigma, labels)


def images(denoiser, batch_size=8, **options):
    sampling = Sampling(**{"steps": 4, "sampler": "ddpm", **options})
    return generate(denoiser, KEYS, image_shape=(1, 8, 8), seed=0, runtime=CPU, batch_size=batch_size, sampling=sampling)


@pytest.mark.parametrize("guidance", [0.0, 1.5])
@pytest.mark.parametrize("room", [2, 5, 8])
def test_running_out_of_memory_halves_the_batch_and_the_images_are_those_of_before(room, guidance):
    whole = images(Elementwise(1000), guidance=guidance)
    said = []
    denoiser, batch = Elementwise(room), BatchSize(8, said.append)
    assert np.array_equal(images(denoiser, batch, guidance=guidance), whole)
    room //= 2 if guidance else 1
    fits = 2 ** int(np.log2(room))
    assert batch.size == fits
    assert len(said) == np.log2(8 // fits)
    denoiser.sizes.clear()
    images(denoiser, batch, guidance=guidance)
    assert max(denoiser.sizes) <= denoiser.room  # what has been learned is not learned again


def test_memory_that_runs_out_half_way_loses_no_image_and_makes_none_twice():
    whole, denoiser = images(Elementwise(1000), batch_size=4), Elementwise(1000)
    original, calls = denoiser.__class__.__call__, []

    class Filling(Elementwise):
        def __call__(self, x, sigma, labels):
            calls.append(1)
            self.room = 1000 if len(calls) <= 6 else 2  # within the second batch
            return original(self, x, sigma, labels)

    filling = Filling(1000)
    assert np.array_equal(images(filling, batch_size=4), whole)
    assert filling.sizes == [4] * 7 + [2] * 4 * 5


def test_a_real_network_draws_the_same_after_a_retreat_up_to_rounding():
    torch.manual_seed(0)
    options = GeneratorOptions(channels=8, channel_mults=(1, 2), blocks=1, attention=(), dropout=0.0)
    network = build_denoiser(options, image_shape=(1, 8, 8), num_classes=3).eval().requires_grad_(False)
    for p in network.parameters():
        p.add_(0.1 * torch.randn_like(p))
    settings = {"guidance": 1.0, "sampler": "dpm++2m", "steps": 6}
    whole, after = images(network, **settings), images(LittleRoom(network, 5), **settings)
    assert np.abs(whole.astype(int) - after).max() <= 1
    assert (whole != after).mean() < 0.01
    assert whole.std() > 10


def test_one_image_too_many_is_an_error_with_the_remedy():
    with pytest.raises(LtaugError, match=r"does not hold one image .* --device cpu"):
        images(Elementwise(0))


@pytest.mark.parametrize(("asked", "expected"), [(None, ON_CPU), (7, 7)])
def test_on_the_cpu_the_batch_is_what_was_asked_for_or_the_one_it_always_was(asked, expected):
    how = {"image_shape": (1, 8, 8), "guidance": 1.0, "runtime": CPU}
    assert batch_for(asked, 10_000, denoiser=Elementwise(1), **how).size == expected == (asked or 256)


@given(free=st.integers(0, 10**12), each=st.integers(1, 10**9), wanted=st.integers(1, 10**6))
def test_a_fitting_batch_is_the_largest_power_of_two_for_the_memory_and_the_images(free, each, wanted):
    size = fitting(free, each, wanted)
    assert size & (size - 1) == 0
    assert 1 <= size <= LARGEST
    assert size == 1 or size * each <= SHARE * free
    assert size < 2 * wanted
    assert 2 * size * each > SHARE * free or 2 * size > LARGEST or size >= wanted


def test_a_generator_in_bfloat16_draws_the_same_up_to_rounding_in_the_cpus_own_forms():
    options = resolve(GeneratorOptions, {"channels": 16, "attention": (4,)}, image_side=8)
    made = {}
    for dtype in (None, torch.bfloat16):
        torch.manual_seed(0)
        denoiser = build_denoiser(options, image_shape=(1, 8, 8), num_classes=3)
        for p in denoiser.parameters():
            p.data.add_(0.02 * torch.randn_like(p))
        generator = Generator(denoiser.eval().requires_grad_(False), ("a", "b", "c"), (1, 8, 8), "", Path(), 1)
        runtime = Runtime(torch.device("cpu"), dtype)
        sampling = SamplingOptions(sample_steps=4, guidance=1.5, sample_batch=8)
        generated = open_generated(generator, sampling, len(KEYS), seed=0, runtime=runtime, tell=lambda text: None)
        made[dtype] = generated(KEYS).astype(int)
        own = [m for m in denoiser.modules() if isinstance(getattr(m, "forward", None), partial)]
        assert bool(own) == (dtype is not None)
    apart = np.abs(made[None] - made[torch.bfloat16])
    assert 0 < apart.mean() < 1.5
