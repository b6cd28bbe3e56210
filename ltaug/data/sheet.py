"""Contact sheets: images in a grid, small ones enlarged so that they can be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ltaug.data.imageset import Images


def contact_sheet(rows: Sequence[Images], *, side: int = 64, gap: int = 2) -> Image.Image:
    """One row of images per entry.

    Args:
        rows: uint8 (N, C, H, W) each, all of one C, H, W; a short row is left white at its end.
        side: images are enlarged by a whole factor towards this many pixels.
        gap: white pixels between images.
    """
    c, h, w = next(r.shape[1:] for r in rows if len(r))
    factor = max(1, side // max(h, w))
    h, w = h * factor, w * factor
    columns = max(len(r) for r in rows)
    sheet = np.full((len(rows) * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            tile = image.repeat(factor, axis=1).repeat(factor, axis=2).transpose(1, 2, 0)
            sheet[gap + i * (h + gap) : (i + 1) * (h + gap), gap + j * (w + gap) : (j + 1) * (w + gap)] = tile
    return to_picture(sheet)


def to_picture(pixels: Images) -> Image.Image:
    """A pillow image of uint8 (H, W, C) with one or three channels."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
