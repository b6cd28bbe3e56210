"""Copies of training images, altered in many ways: which share is found in grey levels, and which in a classifier's features?

    python benchmarks/copies.py --dataset folder:DIR --classifier RUN

The classifier was trained on the dataset's training images. Half of the test images decide on the limit; the other half are the
fresh images, of which none should be found.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ltaug.classifier.judge import Judge
from ltaug.data.load import load_dataset
from ltaug.metrics.copies import fit_search
from ltaug.metrics.neighbours import fit_neighbours
from ltaug.options import DatasetOptions
from ltaug.runtime import make_runtime

Alter = Callable[[np.ndarray], np.ndarray]  # an image uint8 (C, H, W)


def shifted(share: float) -> Alter:
    """Moved to the right by a share of the side, and up by half of that; the edge is repeated."""

    def alter(image: np.ndarray) -> np.ndarray:
        side = image.shape[-1]
        right, up = max(1, round(share * side)), round(share * side / 2)
        padded = np.pad(image, ((0, 0), (side, side), (side, side)), mode="edge")
        return padded[:, side + up : 2 * side + up, side - right : 2 * side - right]

    return alter


def cropped(share: float) -> Alter:
    """A square of this share of the side, off the middle, enlarged again (bicubic)."""

    def alter(image: np.ndarray) -> np.ndarray:
        side = image.shape[-1]
        size = round(share * side)
        left, top = (side - size) // 3, (side - size) // 2
        picture = Image.fromarray(image.transpose(1, 2, 0).squeeze())
        box = (left, top, left + size, top + size)
        large = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC, box=box))
        return np.atleast_3d(large).transpose(2, 0, 1)

    return alter


def brightened(factor: float, by: float = 0.0) -> Alter:
    return lambda image: np.clip(image * factor + by, 0, 255).astype(np.uint8)


def mirrored(image: np.ndarray) -> np.ndarray:
    return image[..., ::-1]


def compressed(image: np.ndarray) -> np.ndarray:
    """Less by a quarter and enlarged again."""
    picture, side = Image.fromarray(image.transpose(1, 2, 0).squeeze()), image.shape[-1]
    small = picture.resize((3 * side // 4,) * 2, Image.Resampling.BICUBIC)
    return np.atleast_3d(np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))).transpose(2, 0, 1)


ALTERED: dict[str, Alter] = {
    "the same": lambda image: image,
    "reduced to 75 % and enlarged": compressed,
    "shifted by 3 %": shifted(0.03),
    "shifted by 10 %": shifted(0.10),
    "mirrored": mirrored,
    "brighter by 20 %": brightened(1.2),
    "darker by 30 levels": brightened(1.0, -30),
    "cropped to 90 %": cropped(0.9),
    "cropped to 80 %": cropped(0.8),
    "cropped to 70 %": cropped(0.7),
    "mirrored, cropped to 90 %, brighter by 10 %": lambda image: mirrored(cropped(0.9)(brightened(1.1)(image))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--images", type=int, default=1000, help="planted of each kind")
    asked = parser.parse_args()
    data = load_dataset(DatasetOptions(dataset=asked.dataset, image_size=asked.image_size), seed=0)
    judge = Judge.load(asked.classifier, runtime=make_runtime("cpu", threads=1))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data.test))
    held, fresh = (np.asarray(data.test.take(np.sort(half)).images) for half in (order[:2000], order[2000:4000]))
    picked = np.sort(rng.choice(len(data.train), min(asked.images, len(data.train)), replace=False))
    originals = np.asarray(data.train.take(picked).images)
    grey = fit_neighbours(data.train, mirrored=True)
    by_held, by_own = (fit_search(data.train.images, judge.features, held_out=one) for one in (held, None))
    print(f"limits: {by_held.limit:.3f} from held-out images, {by_own.limit:.3f} from the training images themselves")
    print("| planted | grey levels | features, limit of held-out images | of the training images |\n|---|--:|--:|--:|")
    sets = {"fresh real images": fresh} | {
        name: np.stack([np.ascontiguousarray(alter(image)) for image in originals]) for name, alter in ALTERED.items()
    }
    for name, images in sets.items():
        near = grey.nearest(images)[1] <= grey.copy_threshold
        shares = [near.mean(), by_held.copied(images).mean(), by_own.copied(images).mean()]
        print(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
