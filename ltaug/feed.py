"""Images on their way to a device: put there whole where they fit, otherwise read a batch at a time from where they lie."""

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

READERS = 4  # threads that read, as a disk answers several requests at a time
AHEAD = 8  # batches read before they are asked for


class Feed(Protocol):
    """Images of one size, numbered; both kinds of feed give the very same batches."""

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand out batch after batch.

        Args:
            indices: of each batch the numbers of its images, int64 (B,) on the CPU; asked for some batches ahead.

        Yields:
            these numbers, and the images, uint8 (B, C, H, W), both on the device. The host does not wait for the device.
        """
        ...


@dataclass(frozen=True)
class Resident:
    """Images that lie on the device, uint8 (N, C, H, W)."""

    images: Tensor

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for index in indices:
            there = _sent(index, self.images.device)
            yield there, self.images.index_select(0, there)  # on CPUs many times as fast as images[there]


@dataclass(frozen=True)
class Streamed:
    """Images of several sets, numbered on from one to the next, that stay where they are; a few threads read ahead."""

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
        """The images at `index`, in memory that the device can fetch them from."""
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
    """A feed of the images of `sets`, numbered on from one set to the next.

    Args:
        sets: uint8 (N, C, H, W) each, all of one (C, H, W).
        limit: bytes from which on they are not put on the device [default: half of what is free on a GPU; of main memory,
            which the network and other processes share, a quarter].
    """
    if limit is None:
        limit = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else available_memory() // 4
    if sum(images.nbytes for images in sets) >= limit:
        return Streamed(sets, device)
    resident = torch.empty((sum(map(len, sets)), *sets[0].shape[1:]), dtype=torch.uint8, device=device)
    first = 0
    for images in sets:
        for start in range(0, len(images), BLOCK):  # in blocks, so that main memory never holds a set that goes to a GPU
            block = torch.from_numpy(np.array(images[start : start + BLOCK]))
            resident[first + start : first + start + len(block)] = block
        first += len(images)
    return Resident(resident)


def _sent(index: Tensor, device: torch.device) -> Tensor:
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index
