"""The nearest real image of a generated one, in grey levels: what tells a copy from a likeness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import BLOCK, AnyImages, Images, ImageSet, MappedRows
from ltaug.metrics.distances import Cloud, frame_of, nearest

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
QUANTILES = {"q01": 0.01, "q05": 0.05, "median": 0.5}


@dataclass(frozen=True)
class Neighbours:
    """Nearest real image by root-mean-square difference in grey levels (0..255); an equal image is at exactly 0."""

    real: Cloud  # the real images' pixels (N, C*H*W)
    between_real: Floats  # (N,) each real image's distance to the nearest other one; empty where there is no other
    mirrored: bool  # an image is also compared with the real ones' mirror images

    def nearest(self, images: AnyImages, *, but: Ints | None = None) -> tuple[Ints, Floats]:
        """For uint8 images (M, C, H, W): index of the nearest real image (M,) and its distance (M,).

        Args:
            but: (M,) for each image the index of a real one that it is not compared with.
        """
        return _nearest(images, self.real, mirrored=self.mirrored, but=but)

    @property
    def copy_threshold(self) -> float:
        """The distance below which a generated image counts as a copy: 1 % of real images are that near another."""
        return float(np.quantile(self.between_real, 0.01)) if len(self.between_real) else 0.0

    @property
    def quantiles(self) -> dict[str, float]:
        """QUANTILES of `between_real`, as runs record them; empty where there is no other image."""
        given = QUANTILES if len(self.between_real) else {}
        return {name: round(float(np.quantile(self.between_real, q)), 4) for name, q in given.items()}


def fit_neighbours(real: ImageSet, *, mirrored: bool = False, among: Ints | None = None) -> Neighbours:
    """Neighbours among real images, those of training unless said otherwise.

    Args:
        mirrored: compare with mirror images too, as is right where a generator was trained on both.
        among: the numbers of the images whose distances to others are `between_real` [default: all].
    """
    rows = _rows(real.images)
    cloud = frame_of(rows).place(rows)
    between = np.zeros(0, np.float32)
    if len(real) > 1:
        images, own = (real.images, np.arange(len(real))) if among is None else (real.take(among).images, among)
        between = _nearest(images, cloud, mirrored=mirrored, but=own)[1]
    return Neighbours(cloud, between, mirrored)


def _nearest(images: AnyImages, real: Cloud, *, mirrored: bool, but: Ints | None) -> tuple[Ints, Floats]:
    """As Neighbours.nearest; what `but` names is left out with its mirror image."""
    found, distance = np.empty(len(images), np.int64), np.empty(len(images), np.float32)
    for start in range(0, len(images), BLOCK):
        block, left_out = images[start : start + BLOCK], None if but is None else but[start : start + BLOCK]
        index, squared = nearest(real.frame.place(_rows(block)), real, 1, but=left_out)
        if mirrored:
            # The distance to a mirror image is that of the mirror image.
            mirror = real.frame.place(_rows(block[..., ::-1]))
            other, flipped = nearest(mirror, real, 1, but=left_out)
            index, squared = np.where(flipped < squared, other, index), np.minimum(squared, flipped)
        found[start : start + BLOCK] = index[:, 0]
        distance[start : start + BLOCK] = np.sqrt(squared[:, 0] / real.values.shape[1])
    return found, distance


def as_nearest(made: Images, real: Images, *, mirrored: bool) -> tuple[Images, npt.NDArray[np.bool_]]:
    """Real images (N, C, H, W), each as its mirror image where these count and that is nearer to the one made, and where so."""
    flipped = np.ascontiguousarray(real[..., ::-1])
    plain, mirror = (np.square(made.astype(np.int64) - r).sum((1, 2, 3)) for r in (real, flipped))
    nearer = (mirror < plain) & mirrored
    return np.where(nearer[:, None, None, None], flipped, real), nearer


def _rows(images: AnyImages) -> AnyImages:
    """(N, C, H, W) as (N, C*H*W)."""
    if isinstance(images, MappedRows):
        return MappedRows(images.array.reshape(len(images.array), -1), images.index)
    return images.reshape(len(images), -1)
