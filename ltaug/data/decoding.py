"""Image files as uint8 pixels: orientation, alpha, depth, grey or colour, size; many files at once with a few threads."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ltaug.data.imageset import Images
from ltaug.machine import Machine

# By content, whatever a file is called: Pillow hands others, such as EPS, to external programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # JPEG with MPO, PPM with PGM and PBM
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_GREY = ("1", "L", "LA", "La", *_SIXTEEN_BIT)
_BITS = 258  # TIFF's tag of the bits of each channel
_TASK = 64  # files per task of the thread pool; one task per file would take more memory than the images of a large set

# What Pillow's decoders raise on damaged files, as seen in its code and issue tracker.
UNREADABLE: tuple[type[Exception], ...] = (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, OverflowError)
UNREADABLE += (struct.error, zlib.error, Image.DecompressionBombError)


Content = Callable[[str], Path | bytes]  # by the name of an image, its file or what that holds
Size = tuple[int, int]  # (width, height), as Pillow has it


class Decoded(NamedTuple):
    """Pixels of one image, uint8 (3, H, W), and Pillow's mode and size of what they were made from.

    `converted` says what they show otherwise than the file has it, such as "16 bits to 8".
    """

    pixels: Images
    mode: str
    size: Size
    converted: tuple[str, ...] = ()

    @property
    def grey(self) -> bool:
        """Whether the image was grey; then all channels are equal."""
        return self.mode in _GREY


def open_image(source: Path | bytes, *, max_pixels: int = Machine.max_image_pixels) -> Image.Image:
    """An image file, or its content, of which only the header is read.

    Raises:
        one of UNREADABLE: the file is damaged, of none of FORMATS, or has more than `max_pixels`.
    """
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        limit = f"--max-image-pixels {max_pixels:,}; raise that to read it"
        raise ValueError(f"{width}x{height} are {width * height:,} pixels, more than {limit}")
    return image


def decode(source: Path | bytes, *, image_size: Size | None, max_pixels: int = Machine.max_image_pixels) -> Decoded:
    """Decode a file or its content: EXIF orientation applied, the first frame of an animation, and as `to_pixels` says.

    Raises:
        one of UNREADABLE: see `open_image`; the image has floating-point pixels.
    """
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise OSError("the file is empty")
    with open_image(source, max_pixels=max_pixels) as file:
        # Before decoding, in which Pillow reads colours of 16 bits as of 8, and turns a TIFF.
        deep, tags = _is_deep(file), dict(getattr(file, "tag_v2", {}))
        decoded = to_pixels(ImageOps.exif_transpose(file), image_size)
        turned = (tags or file.getexif()).get(ExifTags.Base.Orientation, 1) in range(2, 9)
        return decoded._replace(converted=tuple(_conversions(file, deep=deep, turned=turned)))


def _is_deep(file: Image.Image) -> bool:
    """Whether a file that is not yet decoded has 16 bits a channel, or more than 8 in a PPM.

    Raises:
        ValueError: they stand in planes of their own, which Pillow takes for 8 bits.
    """
    tiles = list(getattr(file, "tile", ()))
    if dict(getattr(file, "tag_v2", {})).get(_BITS, (8,))[0] > 8 and any(
        tile[0] == "raw" and tile[3][0] in "RGB" for tile in tiles
    ):
        raise ValueError("16 bits a channel, in planes, are not read; save it with 8 bits")
    return any(";16" in str(tile) or (tile[0].startswith("ppm") and tile[3][1] > 255) for tile in tiles)


def _conversions(file: Image.Image, *, deep: bool, turned: bool) -> Iterator[str]:
    """What the decoded image shows otherwise than its file has it."""
    if deep or file.mode in _SIXTEEN_BIT:
        yield "16 bits to 8"
    if _has_alpha(file):
        yield "alpha channel put on white"
    if file.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        yield f"{file.mode} to RGB"
    if turned:
        yield "turned as EXIF says"
    with suppress(*UNREADABLE):  # only the first frame needs to be whole
        if getattr(file, "is_animated", False):
            yield "first of several frames"


def _has_alpha(image: Image.Image) -> bool:
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def to_pixels(image: Image.Image, image_size: Size | None) -> Decoded:
    """A picture's pixels: alpha on white, 16 bits scaled to 8.

    Args:
        image_size: resize to fill this and crop the centre; None keeps the size.
    """
    rgb = _as_rgb(image)
    if image_size is not None:
        rgb = filling(rgb, image_size)
    return Decoded(np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1)), image.mode, image.size)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(values.clip(0, 65535) / 257).astype(np.uint8)).convert("RGB")
    if _has_alpha(image):
        straight = image.convert("LA") if image.mode == "La" else image
        rgba = straight.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def filling(image: Image.Image, size: Size) -> Image.Image:
    """Resize to fill `size` (bicubic, antialiased) and crop the centre, in one resampling."""
    if image.size == size:
        return image
    (width, height), (across, down) = image.size, size
    wide, high = min(width, height * across / down), min(height, width * down / across)
    left, top = (width - wide) / 2, (height - high) / 2
    return image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))


def resize_all(images: Images, side: int) -> Images:
    """`filling` a square, for an array of images, uint8 (N, C, H, W) with C of 1 or 3."""
    if images.shape[2:] == (side, side):
        return images
    resized = np.empty((len(images), images.shape[1], side, side), dtype=np.uint8)
    for target, image in zip(resized, images, strict=True):
        for channel, plane in zip(target, image, strict=True):
            channel[...] = np.asarray(filling(Image.fromarray(np.ascontiguousarray(plane)), (side, side)))
    return resized


def decode_all(
    content: Content,
    paths: Sequence[str],
    image_size: Size | None,
    *,
    max_pixels: int = Machine.max_image_pixels,
    threads: int | None = None,
) -> Iterator[Decoded | str]:
    """For each path, in order, its image or what is wrong with it.

    Args:
        content: such as `root.joinpath`.
        max_pixels: of the largest image that is decoded.
        threads: how many decode [default: one per processor, at most 8].
    """

    def block(start: int) -> list[Decoded | str]:
        return [try_decode(content(path), image_size, max_pixels) for path in paths[start : start + _TASK]]

    workers = threads or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # large images, odd palettes and EXIF are dealt with here
        try:
            starts = iter(range(0, len(paths), _TASK))
            waiting = [pool.submit(block, start) for start in islice(starts, 2 * workers)]
            while waiting:
                yield from waiting.pop(0).result()
                if (start := next(starts, None)) is not None:
                    waiting.append(pool.submit(block, start))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def try_decode(source: Path | bytes, image_size: Size | None, max_pixels: int) -> Decoded | str:
    """The image, or what is wrong with it."""
    try:
        return decode(source, image_size=image_size, max_pixels=max_pixels)
    except UNREADABLE as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"not an image ({', '.join(FORMATS)})" if text.startswith("cannot identify image file") else text
