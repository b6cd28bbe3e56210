"""Nearest points and points within a radius: as exact as float64 differences, nearly as fast as a float32 product.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y takes one matrix product, but loses small distances to rounding: an image and its copy
come out apart, and how far depends on the batch. Here the product only bounds every distance from below and above (by
the standard error bound of a dot product); the few pairs that the bounds leave open are computed from their differences.
So the answers are those of exact distances whatever the batch, and nothing of N x N values is ever held. Points too many
for memory stay where they are, and are read again for every block of queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltaug.data.imageset import MappedRows
from ltaug.memory import available_memory

Values = npt.NDArray[Any] | MappedRows
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Distances bounded at a time (64 MiB an array), values whose differences are taken at a time, and values of points that are
# not held which are framed at a time (64 MiB).
BLOCK_PAIRS = 2**24
_BLOCK_VALUES = 2**22
_PART_VALUES = 2**24


@dataclass(frozen=True)
class Cloud:
    """Points of one frame."""

    values: Values  # (N, D), finite; distances are between these
    frame: Frame  # that they are placed in
    squares: Tensor  # (N,) float32, squared norms of the points in the frame
    held: Tensor | None  # (N, D) float32, the points in the frame, or None where they would take too much memory

    def framed(self, rows: slice) -> Tensor:
        """(rows, D) float32, centred and scaled, for products."""
        return self.frame.of(self.values[rows]) if self.held is None else self.held[rows]

    def parts(self) -> Iterator[slice]:
        """All rows, as many at a time as may be framed at once."""
        return _parts(self.values, whole=self.held is not None)


@dataclass(frozen=True)
class Frame:
    """Centre (D,) and scale that keep float32 products small; clouds that are compared share one."""

    centre: npt.NDArray[np.float32]
    scale: float

    def place(self, values: Values) -> Cloud:
        """Points (N, D) in this frame, held as float32 where that takes less than a quarter of the memory there is."""
        held = self.of(values[:]) if 4 * len(values) * values.shape[1] < available_memory() // 4 else None
        norms = [
            torch.linalg.vector_norm(self.of(values[rows]) if held is None else held, dim=1)
            for rows in _parts(values, whole=held is not None)
        ]
        return Cloud(values, self, torch.cat(norms).square(), held)

    def of(self, values: npt.NDArray[Any]) -> Tensor:
        """(N, D) float32, centred and scaled."""
        return torch.from_numpy(np.array(values)).float().sub_(torch.from_numpy(self.centre)).mul_(self.scale)


def frame_of(*samples: Values) -> Frame:
    """A frame for these points, each (N, D) with N >= 1."""
    means = [sum(block.sum(0, dtype=np.float64) for block in _blocks(sample)) / len(sample) for sample in samples]
    centre = np.mean(means, axis=0).astype(np.float32)
    if samples[0].dtype == np.uint8:
        centre = np.rint(centre)  # centring is exact for pixels
    blocks = (block for sample in samples for block in _blocks(sample))
    reach = max(float(np.maximum(block.max(0) - centre, centre - block.min(0)).max()) for block in blocks)
    # A power of two, so that scaling is exact.
    return Frame(centre, float(2.0 ** -np.ceil(np.log2(reach))) if reach > 0 else 1.0)


def nearest(queries: Cloud, base: Cloud, k: int, *, but: Ints | None = None) -> tuple[Ints, Doubles]:
    """The k nearest points of `base` for each of M queries, nearest first, of equally near ones the lower index first.

    Args:
        but: (M,) for each query the number of a point that is not its neighbour, such as itself.

    Returns:
        Their indices (M, k) and their squared distances (M, k).
    """
    assert 1 <= k <= len(base.values) - (but is not None), "as many points as neighbours"
    index, squared = np.empty((len(queries.values), k), np.int64), np.empty((len(queries.values), k))
    for start, low, high in _bounds(queries, base):
        rows = torch.arange(len(low))
        if but is not None:
            left_out = torch.from_numpy(but[start : start + len(low)])
            low[rows, left_out] = high[rows, left_out] = torch.inf
        furthest = high.amin(1, keepdim=True) if k == 1 else high.kthvalue(k, dim=1, keepdim=True).values
        row, column = (pairs.numpy() for pairs in (low <= furthest).nonzero(as_tuple=True))
        exact = _squared(queries.values, start + row, base.values, column)
        order = np.lexsort((column, exact, row))
        begins = np.searchsorted(row[order], rows.numpy())
        chosen = order[begins[:, None] + np.arange(k)]
        index[start : start + len(low)], squared[start : start + len(low)] = column[chosen], exact[chosen]
    return index, squared


def within(a: Cloud, b: Cloud, *, of_a: Doubles, of_b: Doubles) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Which pairs lie within the squared radius of the point of `a` (N,), and which within that of the point of `b` (M,).

    Yields:
        a block of rows of `a`, and two bool (rows, M).
    """
    for start, low, high in _bounds(a, b):
        rows = slice(start, start + len(low))
        yield rows, _closer(a, b, start, low, high, of_a[rows, None]), _closer(a, b, start, low, high, of_b[None])


def _closer(a: Cloud, b: Cloud, start: int, low: Tensor, high: Tensor, radius: Doubles) -> Tensor:
    framed = torch.from_numpy(radius * a.frame.scale**2).float()
    inside = high <= framed
    row, column = ((low <= framed) & ~inside).nonzero(as_tuple=True)
    exact = _squared(a.values, start + row.numpy(), b.values, column.numpy())
    inside[row, column] = torch.from_numpy(exact <= np.broadcast_to(radius, tuple(low.shape))[row.numpy(), column.numpy()])
    return inside


def _bounds(a: Cloud, b: Cloud) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For blocks of rows: the first row, and bounds (rows, M) below and above on squared distances in the frame.

    A dot product of D terms in float32 is off by at most D u |x||y|, u = 2^-24, in whatever order it is summed (Higham,
    Accuracy and Stability of Numerical Algorithms, section 3.1), a square by D u |x|^2; the 16 covers framing and sums.
    """
    assert a.frame is b.frame, "clouds of one frame"
    slack = 2 * (a.values.shape[1] + 16) * 2.0**-24
    step = max(1, BLOCK_PAIRS // len(b.values))
    for start in range(0, len(a.values), step):
        rows = slice(start, start + step)
        sums, points = a.squares[rows, None] + b.squares, a.framed(rows)
        products = [torch.addmm(sums[:, columns], points, b.framed(columns).T, beta=1 - slack, alpha=-2) for columns in b.parts()]
        low = products[0] if len(products) == 1 else torch.cat(products, dim=1)
        yield start, low, torch.add(low, sums, alpha=2 * slack)


def _parts(values: Values, *, whole: bool) -> Iterator[slice]:
    if whole:
        yield slice(None)
        return
    step = max(1, _PART_VALUES // values.shape[1])
    for start in range(0, len(values), step):
        yield slice(start, start + step)


def _blocks(values: Values) -> Iterator[npt.NDArray[Any]]:
    return (values[rows] for rows in _parts(values, whole=not isinstance(values, MappedRows)))


def _squared(a: Values, rows: Ints, b: Values, columns: Ints) -> Doubles:
    """Squared distances of pairs (P,), from differences; exact integers for pixels."""
    found = np.empty(len(rows))
    step = max(1, _BLOCK_VALUES // a.shape[1])
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        found[pairs] = np.square(np.subtract(a[rows[pairs]], b[columns[pairs]], dtype=np.float64)).sum(1)
    return found
