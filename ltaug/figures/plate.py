"""Plates: images in labelled rows and columns as one PNG, every pixel enlarged by the same whole factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ltaug.data.imageset import Images
from ltaug.data.sheet import png_of
from ltaug.options import EVERYWHERE

SIDE = 64  # pixels that images are enlarged towards
GAP = 4  # between images
MARGIN = 16  # around the plate
BETWEEN = 22  # blocks, and groups of columns
TEXT, FAINT = (32, 36, 42), (77, 85, 97)  # colours of letters
SIZE, SMALL = 15, 13  # of letters, in pixels
LINE = 20  # a line of text
LABEL = 260  # pixels that a row's label may take


@dataclass(frozen=True)
class Row:
    """Images side by side, uint8 (N, C, H, W), of one shape on the whole plate; `captions` stand below every image, if any."""

    label: str
    images: Images
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Block:
    """Rows under a heading; `columns` are (first column, text) of what is said above the columns."""

    title: str
    columns: Sequence[tuple[int, str]]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Plate:
    """A drawn plate: its images are enlarged by a whole factor, and `places` has (left, top) by block, row and column."""

    png: bytes
    factor: int
    places: dict[tuple[int, int, int], tuple[int, int]]


def plate(blocks: Sequence[Block], *, every: int = 0, foot: Sequence[str] = ()) -> Plate:
    """Draw blocks one below the other.

    Args:
        every: leave a wider gap after so many columns; 0 for none.
        foot: lines at the bottom.
    """
    shape: tuple[int, ...] = next(r.images.shape for b in blocks for r in b.rows if len(r.images))
    factor = max(1, SIDE // max(shape[2:]))
    height, width = shape[2] * factor, shape[3] * factor
    columns = max(len(r.images) for b in blocks for r in b.rows)
    labels = [r.label for b in blocks for r in b.rows]
    left = MARGIN + max(_width(_fitted(label, LABEL)) for label in labels) + (10 if any(labels) else 0)

    def x_of(column: int) -> int:
        return left + column * (width + GAP) + (column // every * (BETWEEN - GAP) if every else 0)

    places: dict[tuple[int, int, int], tuple[int, int]] = {}
    texts: list[tuple[int, int, str, int, tuple[int, int, int]]] = []
    y = MARGIN
    right = x_of(columns - 1) + width
    for b, block in enumerate(blocks):
        y += BETWEEN if b else 0
        if block.title:
            right = max(right, MARGIN + _width(block.title))
            texts.append((MARGIN, y, block.title, SIZE, TEXT))
            y += LINE + 2
        if block.columns:
            for column, text in block.columns:
                texts.append((x_of(column), y, text, SMALL, FAINT))
                right = max(right, x_of(column) + _width(text, SMALL))
            y += LINE
        for r, row in enumerate(block.rows):
            texts.append((MARGIN, y + height // 2 - SIZE // 2 - 2, _fitted(row.label, LABEL), SIZE, TEXT))
            for column in range(len(row.images)):
                places[b, r, column] = (x_of(column), y)
            for column, caption in enumerate(row.captions):
                texts.append((x_of(column), y + height + 1, _fitted(caption, width + GAP, SMALL), SMALL, FAINT))
            y += height + GAP + (LINE if row.captions else 0)
    y += 8 if foot else -GAP
    for line in foot:
        texts.append((MARGIN, y, line, SMALL, FAINT))
        right = max(right, MARGIN + _width(line, SMALL))
        y += LINE
    canvas = Image.new("RGB", (right + MARGIN, y + MARGIN), "white")
    for (b, r, column), corner in places.items():
        canvas.paste(_picture(blocks[b].rows[r].images[column], factor), corner)
    pen = ImageDraw.Draw(canvas)
    for x, top, text, size, colour in texts:
        pen.text((x, top), text, font=_font(size), fill=colour)
    return Plate(png_of(canvas, optimize=True), factor, places)


def told(guidance: float, interval: Sequence[float]) -> str:
    """A strength in a heading, and where it is in force if not everywhere."""
    where = "" if tuple(interval) == EVERYWHERE or guidance == 0 else f" at t/T {interval[0]:g} to {interval[1]:g}"
    return f"guidance {guidance:g}{where}"


def _picture(image: npt.NDArray[np.uint8], factor: int) -> Image.Image:
    """(C, H, W) with one or three channels, enlarged, as RGB."""
    enlarged = image.repeat(factor, axis=1).repeat(factor, axis=2)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(enlarged, (3, *enlarged.shape[1:])).transpose(1, 2, 0)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that a plate looks the same everywhere."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _width(text: str, size: int = SIZE) -> int:
    return int(np.ceil(_font(size).getlength(text)))


def _fitted(text: str, room: int, size: int = SIZE) -> str:
    """The text, or as much of it as there is room for, and an ellipsis."""
    if _width(text, size) <= room:
        return text
    while text and _width(f"{text}…", size) > room:
        text = text[:-1]
    return f"{text}…"
