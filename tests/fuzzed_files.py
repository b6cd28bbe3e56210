"""Inputs nobody would give: folders of images, arrays and shards, as datasets and as synthetic images."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzzed_values import FITS, Given, changed
from PIL import Image

from ltaug.data.decoding import EXTENSIONS

LABELS = (b"0", b"0", b"1", b"-1", b"9" * 5000, b"\xff", b"", b"cat", "\xb2".encode())  # of a .cls
TYPES = [tarfile.REGTYPE] * 6 + [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
    b"S",
    b"x",
    b"L",
]


def _picture(random: Random) -> tuple[str, bytes]:
    """An image file, whole or damaged, of any format and mode, and a name for it."""
    extension = random.choice(sorted(EXTENSIONS))
    kind = Image.registered_extensions()[extension]
    array = np.frombuffer(random.randbytes(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
    image = Image.fromarray(array).convert(random.choice(("RGB", "L", "1", "P", "RGBA", "CMYK", "I;16", "F", "LA")))
    content = io.BytesIO()
    try:
        image.save(content, format=kind)
    except (OSError, ValueError):  # this format has no such mode
        content = io.BytesIO()
        Image.fromarray(array).save(content, format=kind)
    data = content.getvalue()
    name = random.choice(("a", "é", " ", "[bold]", "-x", "\udcff", "\n", "a" * 240, "..x")) + extension
    return name, changed(data, random) if random.random() < 0.6 else data


def _class_folders(root: Path, random: Random, names: tuple[str, ...]) -> None:
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(4):
            Image.fromarray(np.frombuffer(random.randbytes(64), np.uint8).reshape(8, 8)).save(root / name / f"{i}.png")
    for _ in range(random.randint(0, 2)):
        name, content = _picture(random)
        (root / random.choice(names) / name).write_bytes(content)
    odd = root / random.choice((*names, ".", "empty", "\udcff", "é" * 60))
    odd.mkdir(exist_ok=True)
    link = odd / random.choice(("link", "link.png", "train", "test"))
    match 9 if os.path.lexists(link) else random.randrange(8):
        case 0:
            link.symlink_to(link)
        case 1:
            link.symlink_to(random.choice((root.resolve(), odd.resolve(), Path("missing"), Path("/dev/null"))))
        case 2:
            os.mkfifo(link)
        case 3:
            link.mkdir()
        case 4:
            link.write_bytes(random.randbytes(20))


def image_folder(folder: Path, made: Path, random: Random) -> Given:
    _class_folders(folder / "set", random, random.choice((("a", "b"), ("a",), ("train/a", "train/b", "test/a", "test/b"))))
    more = random.choice(([], ["--skip-bad"], ["--image-size", "8"], ["--skip-bad", "--image-size", "8"], ["--imbalance", "4"]))
    return Given(["inspect", "folder:set", *more], about=_listed(folder))


def synthetic_folder(folder: Path, made: Path, random: Random) -> Given:
    _class_folders(folder / "set", random, random.choice((("0", "1"), ("0", "x"), ("9",))))
    return Given([*_merging(random), "set"], about=_listed(folder))


def _listed(folder: Path) -> str:
    return ", ".join(ascii(str(path.relative_to(folder))) for path in sorted(folder.rglob("*")) if path.suffix != ".png")


def _merging(random: Random) -> list[str]:
    """Train with the synthetic images that are named last, or foresee it."""
    dry = ["--dry-run"] if random.random() < 0.1 else []
    how = ["--steps", "2", "--model", "resnet8", "--no-baseline", "--workers", "1", "--out", "out"]
    return ["train-classifier", *FITS, *how, *dry, "--synthetic"]


def arrays(folder: Path, made: Path, random: Random) -> Given:
    """A .npz file with an array of another type, shape or range, or with damaged bytes; as a dataset or a synthesis."""
    n = 60
    content: dict[str, Any] = {"images": np.zeros((n, 8, 8), np.uint8), "labels": np.arange(n) % 10}
    if random.random() < 0.4:
        content["class_names"] = np.array([str(k) for k in range(10)])
    if random.random() < 0.3:
        content |= {"test_images": content["images"], "test_labels": content["labels"]}
    for _ in range(random.randint(0, 2)):
        content[random.choice([*content, "x"])] = random.choice(odd_arrays(n))
    file = folder / "x.npz"
    np.savez(file, **content)
    if random.random() < 0.1:  # a header that promises far more than there is
        with zipfile.ZipFile(file, "a") as archive:
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8)})
            archive.writestr("images.npy", head.getvalue())
    if random.random() < 0.5:
        file.write_bytes(changed(file.read_bytes(), random))
    about = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in content.items())
    if random.random() < 0.5:
        return Given(["inspect", "x.npz", *random.choice(([], ["--image-size", "8"], ["--imbalance", "3"]))], about=about)
    return Given([*_merging(random), "x.npz"], about=about)


def odd_arrays(n: int) -> tuple[Any, ...]:
    """Arrays of types, shapes and values that a file of n images does not have."""
    return (
        *(np.zeros(0), np.zeros(()), np.zeros((n, 8, 8)), np.zeros((n, 0, 8), np.uint8), np.zeros((n, 8, 8, 5), np.uint8)),
        *(np.arange(n) - 5, np.arange(n), np.full(n, 2**62), np.full(n, 2**63, np.uint64), np.zeros((n, 2), np.int64)),
        *(np.array(["\ud800"] * 10), np.array(["0"] * 10), np.array([""]), np.array([f"{k}\n[b]" for k in range(10)])),
        *(
            np.array([None, {}], object),
            np.zeros(n, "datetime64[s]"),
            np.zeros(n, bool),
            np.zeros(n, [("a", "i4")]),
            np.zeros(n, "S3"),
        ),
        *(np.zeros((n, 3, 8, 8), np.uint8), np.zeros((n, 1, 4, 400), np.uint8), np.zeros((n, 3, 1, 1), np.uint8)),
    )


def shards(folder: Path, made: Path, random: Random) -> Given:
    """Tars with odd members, links, sizes and bytes."""
    (folder / "tars").mkdir()
    file = folder / "tars" / "0.tar"
    png = (made / "runs/seed-0/cbdm/generator/samples.png").read_bytes()
    names = ("0", "0", "1", "a/0", "../../0", "/tmp/0", "\udcff", "é" * 90, ".", "")
    style = random.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    with tarfile.open(file, "w", format=style, errors="surrogateescape") as archive:
        for _ in range(random.randint(0, 3)):
            key, label = random.choice(names), random.choice(LABELS)
            for extension, data in (("png", png), ("cls", label), ("json", b"{")):
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.type, member.linkname = random.choice(TYPES), random.choice(("0.png", "../../x", "missing"))
                member.size = random.choice((len(data),) * 8 + (0, 8**10))
                archive.addfile(member, io.BytesIO(data.ljust(min(member.size, 10**5), b"\0")) if member.size < 10**5 else None)
    if random.random() < 0.5:
        file.write_bytes(changed(file.read_bytes(), random))
    return Given([*_merging(random), random.choice(("tars", "tars/0.tar"))])
