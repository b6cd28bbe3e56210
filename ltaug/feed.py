"""Batches of images on a device: the whole set is put there if it fits, otherwise threads read batches ahead from storage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ltaug.data.imageset import BLOCK, AnyImages
from ltaug.memory import available_memory

READERS = 4  # reading threads; a disk answers several requests at a time
AHEAD = 8  # batches that are read before they are asked for


class Feed(Protocol):
    """Numbered images of one size; both kinds of feed give the same batches bit for bit."""

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one batch after another, without waiting for the device.

        Args:
            indices: the numbers of each batch's images, int64 (B,) on the CPU; read some batches ahead.

        Yields:
            the numbers, and the images, uint8 (B, C, H, W); both on the device.
        """


@dataclass(frozen=True)
class Resident:
    """Images on the device, (N, C, H, W), or what stands for them (classifier.probe)."""

    images: Tensor

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for index in indices:
            there = _sent(index, self.images.device)
            yield there, self.images.index_select(0, there)  # on CPUs many times faster than images[there]


@dataclass(frozen=True)
class Streamed:
    """Images of several sets, numbered consecutively, that stay where they are; a few threads read ahead."""

    sets: Sequence[AnyImages]
    device: torch.device

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
        with ThreadPoolExecutor(READERS, thread_name_prefix="read") as pool:
            try:
                for index in indices:
                    waiting.append((index, pool.submit(self._read, index)))
                    if len(waiting) > AHEAD:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                for _, reading in waiting:
                    reading.cancel()

    def _next(self, waiting: deque[tuple[Tensor, Future[Tensor]]]) -> tuple[Tensor, Tensor]:
        index, reading = waiting.popleft()
        return _sent(index, self.device), reading.result().to(self.device, non_blocking=True)

    def _read(self, index: Tensor) -> Tensor:
        """The images at `index`, in memory that the device can copy from."""
        wanted, first = index.numpy(), 0
        count = sum(map(len, self.sets))
        assert ((wanted >= 0) & (wanted < count)).all(), f"there are {count} images"
        shape = (len(wanted), *self.sets[0].shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for images_of_set in self.sets:
            here = (wanted >= first) & (wanted < first + len(images_of_set))
            images.numpy()[here] = images_of_set[wanted[here] - first]
            first += len(images_of_set)
        return images


def feed(*sets: AnyImages, device: torch.device, limit: int | None = None) -> Feed:
    """A feed of the images of `sets`, numbered consecutively from one set to the next.

    Args:
        sets: uint8 (N, C, H, W) each, all with the same (C, H, W).
        limit: sets of this many bytes or more are not put on the device [default: half of a GPU's free memory; a quarter of
            the available main memory, which the network and other processes share].
    """
    if limit is None:
        limit = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else available_memory() // 4
    if sum(images.nbytes for images in sets) >= limit:
        return Streamed(sets, device)
    resident = torch.empty((sum(map(len, sets)), *sets[0].shape[1:]), dtype=torch.uint8, device=device)
    first = 0
    for images in sets:
        for start in range(0, len(images), BLOCK):  # in blocks, so that a set for a GPU is never whole in main memory
            block = torch.from_numpy(np.array(images[start : start + BLOCK]))
            resident[first + start : first + start + len(block)] = block
        first += len(images)
    return Resident(resident)


def _sent(index: Tensor, device: torch.device) -> Tensor:
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index
