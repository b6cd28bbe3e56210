"""shards:DIR and shards:URL: WebDataset shards, tars of images KEY.png (or .jpg, ...) and their classes KEY.cls."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ltaug.data.cache import INDICES, File, derived
from ltaug.data.decoding import EXTENSIONS
from ltaug.data.longtail import listed
from ltaug.data.outside import TEST_NAMES
from ltaug.data.parts import TRAIN, Labelled, hidden, read_list
from ltaug.data.remote import is_url, open_url, read_url, states_at
from ltaug.data.sources import Request, Splits
from ltaug.data.table import label_of
from ltaug.errors import DataError
from ltaug.formats import CACHE

EXPORT = "export.json"  # beside the shards of `ltaug export`; it has the classes in order, by name


class _Row(NamedTuple):
    """An image: the shard and the member that it is, where its bytes begin and end in the shard, and what its .cls says."""

    shard: str
    member: str
    start: int
    end: int
    label: str


def read_archives(request: Request) -> Splits:
    """The images of the .tar files below a folder or a URL that fsspec knows, or of those that DIR/train-{000..146}.tar names.

    A shard is of the split whose name is a word of its own: train-0.tar, test/0.tar. Only headers and .cls files are read
    before images are decoded, and once for all: an index of them stays in the cache.

    Raises:
        DataError: no shard, one that cannot be read, an image without class; see `read_list`.
        OptionError: this machine lacks the package for this kind of URL.
    """
    source = f"shards:{request.argument}"
    place, given = request.argument.rstrip("/"), ""
    if place.endswith(".tar"):
        place, _, given = place.rpartition("/")
    place = place if is_url(place) else str(Path(place).expanduser().absolute())
    states = states_at(place, _numbered(given))
    shards = {name: state for name, state in states.items() if name.endswith(".tar") and not any(map(hidden, name.split("/")))}
    if not shards:
        remedy = "give a folder of WebDataset shards, or their names, as in DIR/train-{000..146}.tar"
        raise DataError(f"{source} holds no .tar; {remedy}")
    names = _class_names(place) if EXPORT in states else None
    splits = {name: next((w for w in (TRAIN, *TEST_NAMES) if w in re.split("[^a-z]+", name.lower())), "") for name in shards}
    if any(splits.values()):
        splits = {name: split or name for name, split in splits.items()}  # `read_list` tells which it does not use
    above = f"{place}/" if is_url(place) else ""
    rows = {f"{above}{row[0]}/{row[1]}": _Row(*row) for row in _index(place, shards, request)}
    images = [
        Labelled(File(path, shards[row.shard]), label_of(row.label, names, f"{path}: .cls"), splits[row.shard])
        for path, row in rows.items()
    ]

    def content(path: str) -> bytes:
        return read_url(f"{place}/{rows[path].shard}", rows[path].start, rows[path].end)

    root = Path("/") if above else Path(place)
    return read_list(root, images, request, source=source, class_names=names, content=content)


def _numbered(name: str) -> list[str]:
    """The names that NAME-{000..146}.tar stands for, or the name itself; none where it is empty."""
    if not (found := re.search(r"\{(\d+)\.\.(\d+)\}", name)):
        return [name] if name else []
    first, last = found.groups()
    return [f"{name[: found.start()]}{i:0{len(first)}d}{name[found.end() :]}" for i in range(int(first), int(last) + 1)]


def _class_names(place: str) -> tuple[str, ...]:
    try:
        return tuple(json.loads(read_url(f"{place}/{EXPORT}"))["per_class"])
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{place}/{EXPORT} lists no classes ({error}); put it back, or remove it to have numbers") from error


def _index(place: str, shards: Mapping[str, str], request: Request) -> list[list[Any]]:
    """The fields of a _Row for every image of the shards, which are read where their state is another than before."""

    def make(write: Callable[..., Any]) -> None:
        found: list[_Row] = []
        for done, shard in enumerate(shards, 1):
            with open_url(f"{place}/{shard}") as file, open_tar(file, f"{place}/{shard}") as archive:
                for member, label in samples_in(archive, f"{place}/{shard}"):
                    start = member.offset_data
                    found.append(_Row(shard, member.name, start, start + member.size, label))
            if request.progress is not None:
                request.progress("reading the index of shards", done, len(shards))
        text = np.frombuffer(json.dumps(found).encode(), np.uint8)
        write(text.shape, text.dtype)[:] = text

    key = hashlib.sha256(repr((CACHE, place, list(shards.items()))).encode())
    rows: list[list[Any]] = json.loads(derived(INDICES, key.hexdigest(), make).tobytes())
    return rows


@contextmanager
def open_tar(file: IO[bytes], where: str) -> Iterator[tarfile.TarFile]:
    """A tar for reading; what is wrong with it in the meantime becomes a DataError."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{where} is not a readable tar ({error}); make it again") from error


def samples_in(archive: tarfile.TarFile, where: str) -> list[tuple[tarfile.TarInfo, str]]:
    """The members of a shard that are images, each with what its .cls says.

    Raises:
        DataError: an image without .cls or a .cls without image, or two images of a key.
    """
    images: dict[str, tarfile.TarInfo] = {}
    classes: dict[str, str] = {}
    for member in archive:
        folder, slash, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")  # as WebDataset has it
        key, extension = f"{folder}{slash}{stem}", extension.lower()
        if extension == "cls" and member.isfile():
            classes[key] = content_of(archive, member).decode(errors="replace").strip()
        elif f".{extension}" in EXTENSIONS and member.isfile():
            if key in images:
                raise DataError(f"{where}: {key} has two images, {images[key].name} and {member.name}; keep one")
            images[key] = member
    for keys, lacking in ((images.keys() - classes.keys(), ".cls"), (classes.keys() - images.keys(), "image")):
        if keys:
            raise DataError(f"{where}: no {lacking} for {listed(sorted(keys), 5)}; give KEY.png (or .jpg) and KEY.cls of each")
    return [(member, classes[key]) for key, member in images.items()]


def content_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """What a member that is a file holds."""
    content = archive.extractfile(member)
    assert content is not None
    return content.read()
