"""A folder of images: decoded, started from cold and from the cache, and its batches read from memory or from the disk.

    python benchmarks/image_cache.py                                           # 20,000 pictures of 64 pixels in 100 classes
    python benchmarks/image_cache.py --images 115000 --classes 1000            # as many as ImageNet-LT
    python benchmarks/image_cache.py --source-size 400 --images 2000           # photographs, brought to 64 pixels

The pictures, half JPEG and half PNG, and their cache lie in a temporary folder (--folder says where) and are deleted at the end.
They were just written, so no figure waits for a disk. A start is what a stage does before it trains: the folder is listed, its
images are decoded or mapped, split and told by their digest; each is a process of its own, without its imports. Memory is
the most that the process held, and what of it is not a mapped file, which the system may drop at any time, at the end.
"""

from __future__ import annotations

import argparse
import io
import itertools
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tables import add_json, show

from ltaug.data.decoding import decode_all
from ltaug.data.load import load_dataset
from ltaug.generator.fit import TrainingData
from ltaug.memory import peak_memory
from ltaug.options import DatasetOptions

DISTINCT = 200
EVERYTHING = 2**62


def make_pictures(root: Path, count: int, classes: int, side: int) -> list[str]:
    """Smooth noise in a long-tailed tree of class folders; the files' paths below `root`."""
    stream, files = np.random.RandomState(0), []
    for n in range(DISTINCT):
        noise = Image.fromarray(stream.randint(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        file, kind = io.BytesIO(), ("JPEG", "PNG")[n % 2]
        noise.save(file, kind)
        files.append((file.getvalue(), kind.lower()))
    shares = 256.0 ** -(np.arange(classes) / max(1, classes - 1))
    counts = np.maximum(5, count * shares / shares.sum()).astype(int)
    paths, contents = [], itertools.cycle(files)
    for c, size in enumerate(counts):
        (root / f"{c:04}").mkdir(parents=True)
        for n in range(size):
            data, extension = next(contents)
            paths.append(f"{c:04}/{n:05}.{extension}")
            (root / paths[-1]).write_bytes(data)
    return paths


def decode(root: Path, paths: list[str], side: int, threads: int) -> float:
    """Images a second."""
    began = time.perf_counter()
    found = sum(not isinstance(outcome, str) for outcome in decode_all(root.joinpath, paths, (side, side), threads=threads))
    assert found == len(paths)
    return found / (time.perf_counter() - began)


def start(root: Path, side: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    dataset = load_dataset(DatasetOptions(dataset=f"folder:{root}", image_size=side), seed=0)
    assert dataset.train.digest != dataset.test.digest
    return time.perf_counter() - began


def gather(root: Path, side: int, device: str, batch_size: int, batches: int, limit: int) -> tuple[float, float]:
    """Seconds until the set is where it is read from, and images a second from then on."""
    train = load_dataset(DatasetOptions(dataset=f"folder:{root}", image_size=side), seed=0).train
    began = time.perf_counter()
    data = TrainingData.on(torch.device(device), train, limit=limit)
    ready = time.perf_counter()
    for images, _ in data.batches(range(batches), batch_size=batch_size, seed=0):
        assert len(images) == batch_size
    if device == "cuda":
        torch.cuda.synchronize()
    return ready - began, batches * batch_size / (time.perf_counter() - ready)


def answer(connection, work, arguments) -> None:
    result = work(*arguments)
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    connection.send((result, peak_memory() / 1e6, int(lines["RssAnon"].split()[0]) / 1e3))


def apart(work, *arguments):
    """What `work` returns in a process of its own, the MB that process held at most, and those of its own at the end."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(there, work, arguments))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


def row(what: str, held: tuple[float, float], seconds: float | None = None, speed: float | None = None) -> dict:
    most, own = held
    return {"what": what, "seconds": seconds, "images/s": speed, "MB": round(most), "of its own": round(own)}


def measure(root: Path, a: argparse.Namespace) -> None:
    paths = make_pictures(root, a.images, a.classes, a.source_size)
    rows, some = [], paths[:: max(1, len(paths) // a.decoded)]
    for threads in dict.fromkeys([1, os.cpu_count() or 1]):
        speed, *held = apart(decode, root, some, a.image_size, threads)
        rows.append(row(f"decode, threads: {threads}", held, speed=speed))
    for what in ("first start", "second start"):
        seconds, *held = apart(start, root, a.image_size)
        rows.append(row(what, held, seconds))
    fastest = None
    for what, limit in (("resident", EVERYTHING), ("mapped", 0)):
        (seconds, speed), *held = apart(gather, root, a.image_size, a.device, a.batch_size, a.batches, limit)
        fastest = fastest or speed
        rows.append(row(f"batches, {what}", held, seconds, speed) | {"x resident": speed / fastest})
    of = f"{len(paths)} files of {a.source_size} pixels in {a.classes} classes, at {a.image_size} pixels"
    show(f"{of}; batches of {a.batch_size}", rows, device=a.device, json_file=a.json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--source-size", type=int, default=64, help="pixels a side of the files")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--decoded", type=int, default=10_000, help="files of the first two lines")
    parser.add_argument("--folder", type=Path, help="an existing one, for the temporary folder")
    add_json(parser)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        os.environ["LTAUG_CACHE"] = f"{folder}/cache"  # of the processes started from here
        measure(Path(folder) / "set", a)


if __name__ == "__main__":
    main()
