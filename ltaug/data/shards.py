"""WebDataset shards: tars of images with their labels, in a folder or at a URL, and a synthetic set's images read back.

A shard's samples are members of one base name: CLASSFOLDER/000123.png, .cls (the class's index) and .json. Equal samples
give equal bytes. A manifest names an image in a shard by a path through it: shards/000000-0-of-1.tar/CLASSFOLDER/000123.png.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ltaug.data.decoding import UNREADABLE, open_image
from ltaug.data.imageset import Images, pixel_digest
from ltaug.data.remote import is_url, read_url
from ltaug.errors import damaged
from ltaug.files import to_csv

SHARDS_FILE = "shards.csv"


@dataclass(frozen=True)
class Sample:
    """One image of a shard: its base name, the encoded PNG, its label, and what its .json says."""

    key: str
    png: bytes
    label: int
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Shard:
    """A line of shards.csv: where a tar lies (relative to its run, or a URL), how many images, SHA-256 of its bytes."""

    file: str
    images: int
    sha256: str


def tar_of(samples: Iterable[Sample]) -> bytes:
    """The samples as one tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for sample in samples:
            about = json.dumps(dict(sample.about), ensure_ascii=False).encode()
            for extension, content in (("png", sample.png), ("cls", str(sample.label).encode()), ("json", about)):
                member = tarfile.TarInfo(f"{sample.key}.{extension}")  # without time and owner
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def shards_to_csv(shards: Iterable[Shard]) -> bytes:
    """The content of shards.csv."""
    return to_csv([[f.name for f in fields(Shard)], *map(astuple, shards)])


def read_shards(run: Path) -> dict[str, Shard]:
    """The shards of a finished synthesis run, by their `file`; none where its images lie in folders.

    Raises:
        CorruptError: shards.csv does not have its columns.
    """
    path = run / SHARDS_FILE
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {name: Shard(name, int(images), digest) for name, images, digest in list(csv.reader(file))[1:]}
    except (ValueError, csv.Error) as error:
        raise damaged(f"{path} is damaged ({error})", run) from error


def read_images(run: Path, files: Sequence[str], digests: Sequence[str]) -> Iterator[tuple[int, Images]]:
    """Images of a synthesis run as uint8 (C, H, W), each with its position in `files`; every shard is read once.

    Args:
        files, digests: as the manifest has them. Images come shard by shard, not in this order.

    Raises:
        CorruptError: a file or a shard is missing or damaged, a shard lacks an image, or pixels do not have their digest.
        DataError: a URL cannot be read.
    """
    for i, image in _images(run, files):
        if pixel_digest(image) != digests[i]:
            raise damaged(f"{_where(run, files[i])} is damaged: its pixels are not those in the manifest", run)
        yield i, image


def _images(run: Path, files: Sequence[str]) -> Iterator[tuple[int, Images]]:
    inside: dict[str, dict[str, int]] = {}
    for i, file in enumerate(files):
        tar, member = _split(file)
        if tar:
            inside.setdefault(tar, {})[member] = i
        else:
            yield i, _decoded(_content(run, file), f"{run / file}", run)
    shards = read_shards(run) if inside else {}
    for tar, wanted in inside.items():
        if tar not in shards:
            raise damaged(f"{run / SHARDS_FILE} does not name {tar}", run)
        for member, data in _members(read_shard(run, shards[tar]), wanted, _where(run, tar), run):
            yield wanted[member], _decoded(data, f"{_where(run, tar)}/{member}", run)


def _members(tar: bytes, names: Iterable[str], where: str, run: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            members = {member.name: member for member in archive}
            for name in names:
                member = members[name]
                data = archive.extractfile(member) if member.isfile() else None
                if data is None:
                    raise KeyError(name)
                yield name, data.read()
    except KeyError as error:
        raise damaged(f"{where} lacks {name}", run) from error
    except (tarfile.TarError, EOFError) as error:
        raise damaged(f"{where} is not a readable tar ({error})", run) from error


def read_shard(run: Path, shard: Shard) -> bytes:
    """The bytes of a shard.

    Raises:
        CorruptError: it is missing or does not have its SHA-256.
        DataError: its URL cannot be read.
    """
    content = _content(run, shard.file)
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        raise damaged(f"{_where(run, shard.file)} is damaged: its SHA-256 is not the one recorded", run)
    return content


def file_of(image: str) -> str:
    """The file in which this image of a manifest lies: its own, or a shard."""
    return _split(image)[0] or image


def _split(file: str) -> tuple[str, str]:
    """The shard and the member in it; "" and the file itself if it is in no shard."""
    parts = file.rsplit("/", 2)
    return (parts[0], f"{parts[1]}/{parts[2]}") if len(parts) == 3 and parts[0].endswith(".tar") else ("", file)


def _content(run: Path, file: str) -> bytes:
    try:
        return read_url(file) if is_url(file) else (run / file).read_bytes()
    except FileNotFoundError as error:
        raise damaged(f"{_where(run, file)} is missing", run) from error


def _decoded(content: bytes, name: str, run: Path) -> Images:
    try:
        with open_image(content) as picture:
            pixels = np.asarray(picture, dtype=np.uint8)
    except UNREADABLE as error:
        raise damaged(f"{name} is not a readable image ({error})", run) from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _where(run: Path, file: str) -> str:
    return file if is_url(file) else str(run / file)
