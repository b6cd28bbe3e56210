"""Before a classifier is trained: do the synthetic images leak the test images, or copy the training images?

Both are told by the root-mean-square difference in grey levels to the nearest real image. Two real images of a set are rarely
very near to each other; the 1 % quantile of the leave-one-out nearest distances within a set says how near.

- A synthetic image copies a training image if it is at most that quantile of the training images away from one.
- It leaks a test image if it is at most half of that quantile of the test images away from one, or at most the whole quantile
  and half as far as from any other test image; and nearer to it than to any training image. Half, because of fresh real images
  1 % lie below the whole quantile by construction, and a set of honest images must stay well below a limit of 1 %. The other
  half catches test images that were resized or compressed: they lie off, but still much nearer to one test image than to the
  next. Nearer than to training images, because what shows one of these tells nothing new about the test set, even if test and
  training images are alike; `data.load.duplicates` counts those.

Exact copies count whatever the quantiles are. Where a classifier is at hand, copies of training images are searched in its
features too (`metrics.copies`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ltaug.data.imageset import ImageSet
from ltaug.metrics.copies import SEARCHED, Look, fit_search
from ltaug.metrics.neighbours import Floats, Ints, fit_neighbours

CHECKED = 10_000  # images of each set that are looked at; but for each all training images are searched
LEAK_LIMIT = 0.01  # a larger share of images that leak test images, and more than CHANCE of them: no classifier is trained
CHANCE = 3  # images: of a few hundred fresh real images so many may lie near a test image by chance (0.3 % of the digits do)
COPY_LIMIT = 0.05  # a larger share of images that copy training images: the report says so
CLOSEST = 12


class Match(NamedTuple):
    """A synthetic image, by its number, and the real image nearest to it."""

    synthetic: int
    real: int
    distance: float  # in grey levels, root mean square


@dataclass(frozen=True)
class Overlap:
    """How many of the synthetic images that were checked show a test or a training image."""

    images: int
    checked: int  # of them, drawn at random where there are more than CHECKED
    near_test: float  # share of those checked that leak a test image
    near_train: float  # share of those checked that copy a training image
    test_limit: float  # grey levels, half of the quantile: so near to a test image an image leaks it whatever else is near
    train_limit: float  # grey levels, the quantile: so near to a training image an image copies it
    leaks: tuple[Match, ...]  # with the test image each one shows, nearest first
    closest: tuple[Match, ...]  # up to CLOSEST, with their nearest training image, nearest first
    real_nearest: dict[str, float]  # quantiles of the distances from training images to their nearest other one
    near_features: float | None = None  # share of up to SEARCHED of them that copy a training image in features, if searched
    features_limit: float | None = None  # ratio of distances below which they do


def leaked(near_test: float, checked: int) -> bool:
    """Whether this share of the images that were checked means that test images leaked."""
    return near_test > LEAK_LIMIT and round(near_test * checked) > CHANCE


def overlap(
    synthetic: ImageSet, train: ImageSet, test: ImageSet, *, seed: int, mirrored: bool, look: Look | None = None
) -> Overlap:
    """Compare synthetic images, at least one, with the training and the test images.

    Args:
        seed: of the random samples that stand for sets of more than CHECKED images.
        mirrored: compare with mirror images too.
        look: features of a classifier of the training images, to search in too.
    """
    stream = np.random.default_rng(seed)
    looked_at, tested, between = (_sample(len(images), stream) for images in (synthetic, test, train))
    images = synthetic.take(looked_at).images
    near_train = fit_neighbours(train, mirrored=mirrored, among=between)
    near_test = fit_neighbours(test.take(tested), mirrored=mirrored)
    to_train, train_distance = near_train.nearest(images)
    to_test, test_distance = near_test.nearest(images)
    test_limit, train_limit = near_test.copy_threshold / 2, near_train.copy_threshold
    leaks = test_distance <= test_limit
    unclear = np.flatnonzero(~leaks & (test_distance <= 2 * test_limit))
    leaks[unclear] = 2 * test_distance[unclear] <= near_test.nearest(images[unclear], but=to_test[unclear])[1]
    leaks &= test_distance < train_distance
    order = np.argsort(test_distance, kind="stable")
    in_features: dict[str, float] = {}
    if look is not None and len(train) > 2:
        made, held = (some.take(_sample(len(some), stream, SEARCHED)).images for some in (synthetic, test))
        search = fit_search(train.images, look, held_out=held)
        in_features = {"near_features": float(search.copied(made).mean()), "features_limit": search.limit}
    return Overlap(
        images=len(synthetic),
        checked=len(looked_at),
        near_test=float(leaks.mean()),
        near_train=float((train_distance <= train_limit).mean()),
        test_limit=test_limit,
        train_limit=train_limit,
        leaks=_matches(order[leaks[order]], looked_at, tested[to_test], test_distance),
        closest=_matches(np.argsort(train_distance, kind="stable")[:CLOSEST], looked_at, to_train, train_distance),
        real_nearest=near_train.quantiles,
        **in_features,
    )


def _sample(number: int, stream: np.random.Generator, most: int | None = None) -> Ints:
    """The numbers of the images that are looked at, at most `most` [default: CHECKED], ascending."""
    most = CHECKED if most is None else most
    return np.arange(number) if number <= most else np.sort(stream.choice(number, most, replace=False))


def _matches(rows: Ints, looked_at: Ints, real: Ints, distance: Floats) -> tuple[Match, ...]:
    return tuple(Match(int(looked_at[i]), int(real[i]), float(distance[i])) for i in rows)
