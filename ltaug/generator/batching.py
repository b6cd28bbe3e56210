"""How many images are generated at a time: as asked, or from the device's free memory; fewer when it runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ltaug.errors import ResourceError
from ltaug.generator.denoiser import Denoiser
from ltaug.runtime import Runtime

Made = TypeVar("Made")
ON_CPU = 256
LARGEST = 2048  # a GPU is busy long before, and a round of synthesis should not take minutes
PROBE = 64
SHARE = 0.8  # of the free memory; the rest is for fragments, and for judges
STATE = 8  # float32 copies of the batch that a sampler holds beside the network's pass


@dataclass
class BatchSize:
    """Images generated at a time; once halved it stays so for what is generated after."""

    size: int
    tell: Callable[[str], None] = lambda text: None  # hears of every halving and of images made again, as a sentence

    def halve(self) -> None:
        """Memory ran out.

        Raises:
            ResourceError: at one image.
        """
        if self.size == 1:
            raise ResourceError(
                "the GPU's memory does not hold one image being generated; free it of other programs, use --device cpu, or a "
                "generator of smaller images"
            )
        before, self.size = self.size, self.size // 2
        self.tell(f"Out of memory with {before} images at a time; going on with {self.size}.")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_batches(
    wanted: Sequence[int], batch: BatchSize, make: Callable[[list[int]], Made | None]
) -> Iterator[tuple[list[int], Made]]:
    """Parts of what is wanted, and what `make` makes of each; where it returns None, memory ran out and the batch is halved."""
    done = 0
    while done < len(wanted):
        part = list(wanted[done : done + batch.size])
        if (made := make(part)) is None:
            batch.halve()
            continue
        yield part, made
        done += len(part)


def batch_for(
    asked: int | None,
    images: int,
    *,
    denoiser: Denoiser,
    image_shape: tuple[int, int, int],
    guidance: float,
    runtime: Runtime,
    tell: Callable[[str], None] = lambda text: None,
) -> BatchSize:
    """As many as asked for; else ON_CPU, or on a GPU what `fitting` says of a measured pass of the network.

    Args:
        images: to be generated in all.
        guidance: other than 0, two passes are made for an image.
        tell: for BatchSize.
    """
    if asked is not None:
        return BatchSize(asked, tell)
    if runtime.device.type != "cuda":
        return BatchSize(ON_CPU, tell)
    passes = 1 if guidance == 0 else 2
    each = passes * _bytes_a_pass(denoiser, image_shape, runtime) + STATE * 4 * math.prod(image_shape)
    unused = torch.cuda.memory_reserved(runtime.device) - torch.cuda.memory_allocated(runtime.device)
    return BatchSize(fitting(torch.cuda.mem_get_info(runtime.device)[0] + unused, each, images), tell)


def fitting(free: int, each: float, images: int) -> int:
    """The largest power of two of which SHARE of `free` bytes holds `each` bytes an image.

    At most LARGEST, at least 1, and no more than the power of two that `images` need, since batches are filled up.
    """
    most = min(SHARE * free / each, LARGEST)
    size = 1
    while 2 * size <= most and size < images:
        size *= 2
    return size


@torch.inference_mode()
def _bytes_a_pass(denoiser: Denoiser, image_shape: tuple[int, int, int], runtime: Runtime) -> float:
    """Peak memory an image of one pass of PROBE images, above what is held anyway; the first pass warms up."""
    device = runtime.device
    x = torch.zeros(PROBE, *denoiser.space.shape_of(image_shape), device=device)
    levels, labels = torch.ones(PROBE, device=device), torch.zeros(PROBE, dtype=torch.int64, device=device)
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        with runtime.autocast():
            denoiser(x, levels, labels)
    return (torch.cuda.max_memory_allocated(device) - held) / PROBE
