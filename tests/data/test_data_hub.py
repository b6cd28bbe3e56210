"""hf:DIR and hf:NAME: datasets as the hub has them, the cache of decoded images, and what is refused. Nothing is downloaded."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ltaug.data.load import load_dataset
from ltaug.errors import DataError, OptionError
from ltaug.machine import Machine
from ltaug.options import DatasetOptions

datasets = pytest.importorskip("datasets")
NAMES = ["zebra", "ant"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def split_of(pairs, label=None, column="label", image="image"):
    """A split of images of a grey level each, and their labels."""
    features = datasets.Features({image: datasets.Image(), column: label or datasets.ClassLabel(names=NAMES)})
    values = {image: [png(value) for value, _ in pairs], column: [label for _, label in pairs]}
    return datasets.Dataset.from_dict(values, features=features)


def as_parquet(folder, **splits):
    for name, split in splits.items():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        split.to_parquet(folder / f"data/{name}-00000-of-00001.parquet")
    return folder


def load(folder, *, download=False, skip_bad=False, **options):
    machine = Machine(download=download, skip_bad=skip_bad)
    return load_dataset(DatasetOptions(dataset=f"hf:{folder}", **options), seed=0, machine=machine)


def values(images):
    return [(int(pixels[0, 0, 0]), images.class_names[k]) for pixels, k in zip(images.images, images.labels, strict=True)]


SPLITS = {"train": [(1, 0), (2, 1), (3, 1)], "test": [(4, 1), (5, 0)], "validation": [(6, 0)]}


@pytest.fixture
def folder(tmp_path):
    return as_parquet(tmp_path / "set", **{name: split_of(pairs) for name, pairs in SPLITS.items()})


def test_a_folder_of_parquet_files_has_their_splits_and_the_order_of_its_labels(folder):
    dataset = load(folder)
    assert dataset.train.class_names == tuple(NAMES)
    assert values(dataset.train) == [(value, NAMES[k]) for value, k in SPLITS["train"]]
    assert values(dataset.test) == [(value, NAMES[k]) for value, k in SPLITS["test"]]
    assert "splits not used: validation" in dataset.notes


def test_a_saved_dataset_is_read_and_test_images_are_held_out(tmp_path):
    split_of([(i, i % 2) for i in range(10)]).save_to_disk(tmp_path / "set")
    dataset = load(tmp_path / "set")
    assert (len(dataset.train), len(dataset.test)) == (8, 2)
    assert all(NAMES[value % 2] == name for value, name in values(dataset.train) + values(dataset.test))


def test_image_files_in_class_folders_are_read_as_datasets_reads_them(tmp_path):
    for value in range(10):
        path = tmp_path / f"set/{NAMES[value % 2]}/{value}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(value)["bytes"])
    dataset = load(tmp_path / "set")
    assert dataset.train.class_names == ("ant", "zebra")
    assert all(NAMES[value % 2] == name for value, name in values(dataset.train) + values(dataset.test))


@pytest.mark.parametrize(("type_", "labels", "names"), [("string", "ba", ("a", "b")), ("int64", [10, 9], ("9", "10"))])
def test_labels_without_names_are_ordered_as_in_tables(tmp_path, type_, labels, names):
    pairs = [(i, labels[i % 2]) for i in range(10)]
    as_parquet(tmp_path / "set", train=split_of(pairs, datasets.Value(type_), "class", "picture"))
    dataset = load(tmp_path / "set")
    assert dataset.train.class_names == names
    assert all(str(labels[value % 2]) == name for value, name in values(dataset.train) + values(dataset.test))


def test_the_second_process_decodes_nothing(folder, monkeypatch):
    load(folder)
    program = (
        "import sys; from pathlib import Path; import datasets; from ltaug.data import cache;"
        "from ltaug.data.load import load_dataset; from ltaug.options import DatasetOptions;"
        "datasets.config.HF_DATASETS_CACHE = Path(sys.argv[2]);"
        "cache.decode_all = None; load_dataset(DatasetOptions(dataset=f'hf:{sys.argv[1]}'), seed=0)"
    )
    command = [sys.executable, "-c", program, folder, folder.parent / "hf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


def test_other_images_in_the_same_folder_are_decoded_anew(folder):
    load(folder)
    as_parquet(folder, train=split_of([(71, 0), (72, 1)]))
    assert values(load(folder).train) == [(71, "zebra"), (72, "ant")]


def test_an_unreadable_image_is_named_by_its_row(tmp_path):
    split = split_of([(i, i % 2) for i in range(6)]).cast_column("image", datasets.Image(decode=False))
    split = split.map(lambda row, i: {"image": {"bytes": b"x", "path": None} if i == 3 else row["image"]}, with_indices=True)
    as_parquet(tmp_path / "set", train=split.cast_column("image", datasets.Image()))
    with pytest.raises(DataError, match="1 image cannot be read: train/3 "):
        load(tmp_path / "set")
    dataset = load(tmp_path / "set", skip_bad=True)
    assert len(dataset.train) + len(dataset.test) == 5


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (split_of([(1, 0), (2, 1)], datasets.Value("int64"), "kind"), "no column of labels"),
        (split_of([(1, 0), (2, 1)]).remove_columns("image"), "no column of images"),
        (split_of([(1, 0), (2, -1)]), "label of row 1 of train is -1, no place among its 2 names"),
        (split_of([(1, 0), (2, 0)]), "no training images for class ant"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_one_sentence(tmp_path, split, words):
    with pytest.raises(DataError, match=words):
        load(as_parquet(tmp_path / "set", train=split))


def test_a_folder_that_datasets_cannot_read_is_one_sentence(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"^[^\n]* cannot be read [^\n]*$"):
        load(tmp_path)


def test_a_name_is_taken_from_the_hubs_cache_at_its_revision(folder, monkeypatch):
    def snapshot(name, *, local_files_only=False, **how):
        asked.append((name, how, local_files_only))
        return str(folder)

    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    dataset = load("owner/set@v2", download=True)
    assert "hf:owner/set@v2 is at revision set" in dataset.notes
    assert dataset.train.source == "hf:owner/set@v2"
    load("owner/set")
    assert asked == [
        ("owner/set", {"repo_type": "dataset", "revision": "v2"}, False),
        ("owner/set", {"repo_type": "dataset", "revision": None}, True),
    ]


def test_without_download_a_name_that_is_not_in_the_cache_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(
        DataError, match=r"hf:owner/set \(no folder, .*\) is not on this machine; pass --download, or give hf:DIR"
    ):
        load("owner/set")


def test_a_failed_download_is_one_sentence(monkeypatch):
    def refuse(*asked, **how):
        raise OSError("no route\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(DataError, match=r"^hf:owner/set .* could not be downloaded \(no route\); .* give hf:DIR$"):
        load("owner/set", download=True)


def test_without_the_extra_a_sentence_says_how_to_install_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(OptionError, match=r"needs datasets, which is not installed; pip install 'ltaug\[hf\]'"):
        load(folder)
