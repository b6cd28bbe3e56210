"""Forms in which others read images: each a function that writes a merged set into an empty folder.

Label numbers are ltaug's class order everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ltaug.data.folder import class_folder
from ltaug.data.hub import without_bars
from ltaug.data.shards import Sample, tar_of
from ltaug.data.sheet import encoded
from ltaug.exporting.merged import COLUMNS, Merged
from ltaug.registry import require_extra

TRAIN = "train"
PER_FILE = 1000  # images of a shard, or of a row group of a Parquet file


class Written(NamedTuple):
    """For the dataset card: the pattern of the files written, and a clause on how to take an image out of them."""

    files: str
    withdraw: str


def folder_names(class_names: tuple[str, ...]) -> list[str]:
    """A folder name for each class, such that sorted names are in class order: with a number in front where they need one."""
    names = [class_folder(name) for name in class_names]
    if names == sorted(names):
        return names
    width = len(str(len(names) - 1))
    return [f"{k:0{width}d}_{name}" for k, name in enumerate(names)]


def image_folder(merged: Merged, folder: Path) -> Written:
    """train/CLASS/NAME.png and train/metadata.jsonl: `imagefolder` of `datasets`, ImageFolder of torchvision."""
    names = folder_names(merged.class_names)
    for label, name in enumerate(names):
        (folder / TRAIN / name).mkdir(parents=True)
        if not (merged.labels == label).any():
            (folder / TRAIN / name / ".keep").touch()  # git, archives and hubs drop empty folders
    with (folder / TRAIN / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for i, label in enumerate(merged.labels.tolist()):
            file = f"{names[label]}/{merged.name(i)}.png"
            (folder / TRAIN / file).write_bytes(encoded(merged[i]))
            lines.write(json.dumps({"file_name": file, "label": label, **merged.about(i)}, ensure_ascii=False) + "\n")
    return Written(f"{TRAIN}/**", f"delete its file and its line in {TRAIN}/metadata.jsonl")


def parquet(merged: Merged, folder: Path) -> Written:
    """The hub's layout of images, data/train-*.parquet: `image` is its PNG and path, `label` a ClassLabel, as `datasets` has it.

    Raises:
        OptionError: pyarrow is not installed.
    """
    require_extra("pyarrow", "parquet", "--to parquet")
    from pyarrow.parquet import ParquetWriter

    (folder / "data").mkdir()
    with ParquetWriter(folder / "data" / f"{TRAIN}-00000-of-00001.parquet", _schema(merged)) as file:
        for table in _tables(merged):
            file.write_table(table)
    return Written(f"data/{TRAIN}-*.parquet", "write the table again without its row (`image.path` names it)")


def saved(merged: Merged, folder: Path) -> Written:
    """What `datasets.load_from_disk` opens, a DatasetDict with the split train.

    Raises:
        OptionError: datasets is not installed.
    """
    require_extra("datasets", "hf", "--to hf")
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    with without_bars():
        DatasetDict({TRAIN: Dataset(pa.concat_tables(_tables(merged)))}).save_to_disk(folder)
    return Written(f"{TRAIN}/*.arrow", "`filter` it out (`image.path` names it) and save the set again")


def webdataset(merged: Merged, folder: Path) -> Written:
    """train-NNNNNN.tar of KEY.png, KEY.cls (the label number) and KEY.json, which has what is known and no nulls."""
    names = folder_names(merged.class_names)
    for start in range(0, len(merged), PER_FILE):
        samples = (
            Sample(f"{names[label]}/{merged.name(i)}", encoded(merged[i]), label, _known(merged.about(i)))
            for i, label in enumerate(merged.labels[start : start + PER_FILE].tolist(), start)
        )
        (folder / f"{TRAIN}-{start // PER_FILE:06d}.tar").write_bytes(tar_of(samples))
    return Written(f"{TRAIN}-*.tar", "write its shard again without the three files of its key")


def _known(about: Mapping[str, Any]) -> dict[str, Any]:
    # `datasets` takes the type of a column from the first images, and null for none.
    return {name: value for name, value in about.items() if value is not None}


def _schema(merged: Merged) -> Any:
    """Arrow's schema, with the features as `datasets` notes them there."""
    import pyarrow as pa

    label = {"_type": "ClassLabel", "names": list(merged.class_names)}
    values = {name: {"_type": "Value", "dtype": dtype} for name, dtype in COLUMNS.items()}
    features = {"image": {"_type": "Image"}, "label": label, **values}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("image", image), ("label", pa.int64()), *((name, pa.type_for_alias(type_)) for name, type_ in COLUMNS.items())]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _tables(merged: Merged) -> Iterator[Any]:
    """The images with what is known of them, PER_FILE rows a table, at least one table."""
    import pyarrow as pa

    schema, labels = _schema(merged), merged.labels.tolist()
    for start in range(0, max(len(merged), 1), PER_FILE):
        rows = [
            {"image": {"bytes": encoded(merged[i]), "path": f"{merged.name(i)}.png"}, "label": label, **merged.about(i)}
            for i, label in enumerate(labels[start : start + PER_FILE], start)
        ]
        yield pa.Table.from_pylist(rows, schema=schema)
