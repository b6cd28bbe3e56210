"""hf:NAME[@REVISION] and hf:DIR: image datasets as Hugging Face's hub has them, read by its package `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ltaug.data.cache import File
from ltaug.data.longtail import listed
from ltaug.data.parts import TRAIN, Labelled, read_list
from ltaug.data.sources import Request, Splits
from ltaug.data.table import LABELS, label_of
from ltaug.errors import DataError
from ltaug.hub import from_hub
from ltaug.registry import require_extra

SAVED = ("dataset_dict.json", "state.json")  # in a folder that `save_to_disk` wrote


def read_hub(request: Request) -> Splits:
    """The first column of images, with the first one of labels: a ClassLabel, or one of table.LABELS.

    Raises:
        OptionError: `datasets` is not installed.
        DataError: see `from_hub` and `read_list`; it cannot be read, or lacks such columns.
    """
    source = f"hf:{request.argument}"
    require_extra("datasets", "hf", f"--dataset {source}")
    folder, notes = Path(request.argument).expanduser(), []
    if not folder.is_dir():
        import huggingface_hub

        name, _, revision = request.argument.partition("@")
        ask = partial(huggingface_hub.snapshot_download, name, repo_type="dataset", revision=revision or None)
        about = f"{source} (no folder, but https://huggingface.co/datasets/{name})"
        folder = from_hub(ask, about=lambda: about, instead="give hf:DIR", download=request.machine.download, renew=True)
        notes = [f"{source} is at revision {folder.name}"]
    sets = _loaded(folder, source)
    image, label, names = _columns(sets, source)
    images = [
        Labelled(File(f"{name}/{i}", part._fingerprint), label_of(value, names, f"{source}: {label} of row {i} of {name}"), name)
        for name, part in sets.items()
        for i, value in enumerate(part[label][:])
    ]

    def content(path: str) -> Path | bytes:
        split, i = path.rsplit("/", 1)
        found = pictures[split][int(i)][image]
        return Path(found["path"]) if found["bytes"] is None and found["path"] else found["bytes"] or b""

    from datasets import Image

    pictures = {split: part.select_columns([image]).cast_column(image, Image(decode=False)) for split, part in sets.items()}
    return read_list(folder, images, request, source=source, class_names=names, content=content, notes=notes)


def _loaded(folder: Path, source: str) -> dict[str, Any]:
    """The splits of a dataset in a folder."""
    import datasets

    try:
        with without_bars():
            saved = any((folder / name).is_file() for name in SAVED)
            found = datasets.load_from_disk(folder) if saved else datasets.load_dataset(str(folder))
    except Exception as error:  # its errors have no class in common
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{source} cannot be read ({reason}); name a dataset or a folder that load_dataset opens") from error
    return dict(found) if isinstance(found, dict) else {TRAIN: found}


@contextmanager
def without_bars() -> Iterator[None]:
    """`datasets` without its progress bars."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shows = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shows:
            enable_progress_bars()


def _columns(sets: dict[str, Any], source: str) -> tuple[str, str, tuple[str, ...] | None]:
    """The columns of images and of labels, and the names of the labels where they are numbers with names."""
    from datasets import ClassLabel, Image

    features = next(iter(sets.values())).features
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    named = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    labels = [*named, *(name for name in LABELS if name in features)]
    if not images or not labels:
        lacking = "images" if not images else f"labels (of type ClassLabel, or called {' or '.join(LABELS)})"
        raise DataError(f"{source} has no column of {lacking}, only {listed(list(features))}; add one")
    return images[0], labels[0], tuple(features[labels[0]].names) if named else None
