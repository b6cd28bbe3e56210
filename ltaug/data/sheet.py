"""Contact sheets: images in a grid, small ones enlarged so that they can be seen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ltaug.data.imageset import Images

SIDE = 64  # pixels that images are enlarged towards, by a whole factor
GAP = 2  # white pixels between images


def contact_sheet(rows: Sequence[Images]) -> bytes:
    """One row of images per entry, as PNG.

    Args:
        rows: uint8 (N, C, H, W) each, all of one C, H, W; a short row is left white at its end.
    """
    c, h, w = next(r.shape[1:] for r in rows if len(r))
    factor = max(1, SIDE // max(h, w))
    h, w = h * factor, w * factor
    columns = max(len(r) for r in rows)
    sheet = np.full((len(rows) * (h + GAP) + GAP, columns * (w + GAP) + GAP, c), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            tile = image.repeat(factor, axis=1).repeat(factor, axis=2).transpose(1, 2, 0)
            sheet[GAP + i * (h + GAP) : (i + 1) * (h + GAP), GAP + j * (w + GAP) : (j + 1) * (w + GAP)] = tile
    return png_of(to_picture(sheet))


def png_of(picture: Image.Image, **how: Any) -> bytes:
    """A picture as PNG; `how` are Pillow's options of that."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", **how)
    return buffer.getvalue()


def to_picture(pixels: Images) -> Image.Image:
    """A pillow image of uint8 (H, W, C) with one or three channels."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def encoded(image: Images) -> bytes:
    """uint8 (C, H, W) as PNG, quickly rather than small."""
    return png_of(to_picture(image.transpose(1, 2, 0)), compress_level=1)
