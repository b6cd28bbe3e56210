"""Copies of training images in a classifier's features, where grey levels find only copies of the same pixels.

What shows a training image again, if shifted, mirrored, cropped or brightened, is much nearer to it than to any other one: the
distance to the nearest training image, divided by that to the second nearest, is small (Lowe, IJCV 2004, section 7.1). An image
counts as a copy below the 1 % quantile of that ratio of real images that were held out, or else of the training images among
themselves. The ratio finds more than the distance: features of one class lie close together, of another far apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltaug.data.imageset import AnyImages
from ltaug.metrics.distances import Cloud, frame_of, nearest
from ltaug.metrics.neighbours import Floats, Ints

SEARCHED_ABOVE = 32  # pixels a side; smaller images are searched in grey levels alone
SEARCHED = 2_000  # images that stand for a set, but for the training images, among which all are searched
QUANTILE = 0.01
Look = Callable[[AnyImages], Floats]  # uint8 images (N, C, H, W) to their features (N, D)


@dataclass(frozen=True)
class FeatureSearch:
    """The training images in a classifier's features; make one with `fit_search`."""

    real: Cloud
    look: Look
    limit: float = 0.0  # ratio below which an image is a copy

    def ratios(self, images: AnyImages, *, but: Ints | None = None) -> Floats:
        """(N,) distance to the nearest training image by that to the second nearest one; mirror images count as the image.

        Args:
            but: (N,) the number of a training image that an image is not compared with.
        """
        views = [self.real.frame.place(self.look(view)) for view in (images[:], images[:][..., ::-1].copy())]
        found = [nearest(view, self.real, 2, but=but) for view in views]
        index, squared = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        first = squared.argmin(axis=1)[:, None]
        others = np.where(index == np.take_along_axis(index, first, 1), np.inf, squared).min(axis=1)
        least = squared.min(axis=1)
        ratios: Floats = np.sqrt(np.divide(least, others, out=np.zeros_like(least), where=least > 0)).astype(np.float32)
        return ratios

    def copied(self, images: AnyImages) -> npt.NDArray[np.bool_]:
        """(N,) whether each image is a copy; an image with the features of a training image always is."""
        ratios = self.ratios(images)
        found: npt.NDArray[np.bool_] = (ratios < self.limit) | (ratios == 0)
        return found


def fit_search(real: AnyImages, look: Look, *, held_out: AnyImages | None = None) -> FeatureSearch:
    """A search among real images (at least 3), whose limit comes from `held_out`, or from up to SEARCHED of themselves.

    Args:
        held_out: real images that are not among them; one that has the features of one of them says nothing.
    """
    features = look(real)
    search = FeatureSearch(frame_of(features).place(features), look)
    own = np.unique(np.linspace(0, len(real) - 1, SEARCHED).astype(np.int64))
    ratios = search.ratios(real[own], but=own) if held_out is None else search.ratios(held_out)
    known = ratios[ratios > 0]
    return FeatureSearch(search.real, look, float(np.quantile(known, QUANTILE)) if len(known) else 0.0)
