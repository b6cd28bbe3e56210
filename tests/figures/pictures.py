"""Reading back what figures wrote."""

import csv
import io

import numpy as np
from PIL import Image


def rows_of(content):
    """A CSV file as a list of dicts."""
    return list(csv.DictReader(io.StringIO(content.decode())))


def pixels_of(png):
    """uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def shown_at(pixels, corner, like, factor):
    """The image drawn at (left, top), brought back to the size of `like` (C, H, W), after checking that it is whole."""
    left, top = corner
    c, h, w = like.shape
    tile = pixels[top : top + h * factor, left : left + w * factor]
    image = tile[::factor, ::factor]
    assert (tile == image.repeat(factor, 0).repeat(factor, 1)).all()
    return image.transpose(2, 0, 1)[:c]
