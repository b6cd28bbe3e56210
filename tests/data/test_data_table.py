"""Lists of labelled images, and folders with such a list: what is read, in which order, what is refused."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from ltaug.data.load import load_dataset
from ltaug.errors import DataError, LtaugError, MismatchError, OptionError
from ltaug.machine import Machine
from ltaug.options import DatasetOptions


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))


def image(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def write(table, rows):
    """Rows, dicts with the same keys, in the form that the file's ending says."""
    table.parent.mkdir(parents=True, exist_ok=True)
    if table.suffix == ".jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif table.suffix == ".csv":
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        pa = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        write_table(pa.Table.from_pylist(rows), table)
    return table


def load(dataset, *, skip_bad=False, **options):
    return load_dataset(DatasetOptions(dataset=dataset, **options), seed=0, machine=Machine(skip_bad=skip_bad))


def values(images):
    """Grey level by class name."""
    found = {name: [] for name in images.class_names}
    for pixels, label in zip(images.images, images.labels, strict=True):
        found[images.class_names[label]].append(int(pixels[0, 0, 0]))
    return {name: sorted(levels) for name, levels in found.items()}


def rows_of(folder, levels, *, path="path", label="label"):
    """An image of each grey level, and its row; `levels` by label."""
    rows = []
    for name, own in levels.items():
        for level in own:
            image(folder / f"{level}.png", level)
            rows.append({path: f"{level}.png", label: name})
    return rows


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_says_path_label_and_split(tmp_path, form):
    rows = rows_of(tmp_path / "set", {"owl": [1, 2], "ant": [3, 4, 5]})
    splits = {2: "test", 4: "Test", 5: "validation"}
    rows = [row | {"split": splits.get(int(row["path"].split(".")[0]), "train")} for row in reversed(rows)]
    dataset = load(f"table:{write(tmp_path / f'set/list.{form}', rows)}")
    assert values(dataset.train) == {"ant": [3], "owl": [1]}
    assert values(dataset.test) == {"ant": [4], "owl": [2]}
    assert "splits not used: validation" in dataset.notes


def test_without_splits_test_images_are_held_out_the_same_for_every_seed(tmp_path):
    table = write(tmp_path / "list.csv", rows_of(tmp_path, {"a": range(10), "b": range(10, 20)}))
    options = DatasetOptions(dataset=f"table:{table}")
    first, second = (load_dataset(options, seed=seed) for seed in (0, 1))
    assert (len(first.train), len(first.test)) == (16, 4)
    assert first.test.digest == second.test.digest
    assert values(first.train.take(np.arange(16))).keys() == {"a", "b"}


def test_labels_that_are_whole_numbers_are_in_the_order_of_numbers(tmp_path):
    rows = rows_of(tmp_path, {k: [2 * k, 2 * k + 1] for k in (10, 9, 2)}, path="file_name", label="class")
    dataset = load(f"table:{write(tmp_path / 'list.jsonl', rows)}", test_per_class=1)
    assert dataset.train.class_names == ("2", "9", "10")
    assert {name: level[0] // 2 for name, level in values(dataset.test).items()} == {"2": 2, "9": 9, "10": 10}


def test_paths_are_relative_to_the_table_or_absolute(tmp_path, monkeypatch):
    image(tmp_path / "elsewhere/1.png", 1)
    image(tmp_path / "set/deep/2.png", 2)
    rows = [{"path": str(tmp_path / "elsewhere/1.png"), "label": "a"}, {"path": "deep/2.png", "label": "b"}]
    rows += [{"path": "../elsewhere/1.png", "label": "b"}]
    write(tmp_path / "set/list.csv", rows)
    monkeypatch.chdir(tmp_path)
    for name in ("set/list.csv", str(tmp_path / "set/list.csv")):
        dataset = load(f"table:{name}")
        assert len(dataset.train) + len(dataset.test) == 3


def test_a_changed_image_is_decoded_anew(tmp_path):
    rows = [row | {"split": split} for split in ("train", "test") for row in rows_of(tmp_path, {"a": [1], "b": [2]})]
    table = write(tmp_path / "list.csv", rows)
    assert values(load(f"table:{table}").train) == {"a": [1], "b": [2]}
    Image.fromarray(np.full((4, 4), 77, np.uint8)).resize((4, 4)).save(tmp_path / "1.png", compress_level=0)
    assert values(load(f"table:{table}").train) == {"a": [77], "b": [2]}


def test_missing_images_are_named_and_can_be_left_out(tmp_path):
    rows = rows_of(tmp_path, {"a": [1, 2], "b": [3, 4]})
    (tmp_path / "2.png").unlink()
    table = write(tmp_path / "list.csv", [*rows, {"path": "null\0byte.png", "label": "b"}])
    with pytest.raises(DataError, match=r"2 images cannot be read: 2.png \(No such file"):
        load(f"table:{table}")
    dataset = load(f"table:{table}", skip_bad=True)
    assert len(dataset.train) + len(dataset.test) == 3


GOOD = [{"path": "1.png", "label": "a"}, {"path": "2.png", "label": "b"}]


@pytest.mark.parametrize(
    ("name", "rows", "words", "kind"),
    [
        ("list.csv", [{"image": "1.png", "label": "a"}], "no column path or file_name, only image, label", DataError),
        ("list.jsonl", [{"path": "1.png", "kind": "a"}], "no column class or label, only path, kind", DataError),
        ("list.csv", [*GOOD, {"path": "1.png", "label": " "}], "label of row 3 is ' ', neither text", DataError),
        ("list.jsonl", [*GOOD, {"path": "1.png", "label": None}], "label of row 3 is None", DataError),
        ("list.jsonl", [{"path": "1.png", "label": 1.5}], "label of row 1 is 1.5", DataError),
        ("list.jsonl", [{"path": "1.png", "label": "\ud800"}], "label of row 1 is", DataError),
        ("list.parquet", [{"image": "1.png"}], "no column path or file_name", DataError),
        ("list.csv", [row | {"split": "dev"} for row in GOOD], "the splits dev, none called train", DataError),
        (
            "list.csv",
            [*(row | {"split": "train"} for row in GOOD), {"path": "1.png", "label": "c", "split": "test"}],
            "test images are of class c, no training image is",
            MismatchError,
        ),
        ("list.txt", None, "not .csv, .jsonl or .parquet", DataError),
        ("list.csv", None, "cannot be read", DataError),
        ("list.jsonl", None, "cannot be read", DataError),
        ("list.parquet", None, "cannot be read", DataError),
        ("missing/list.csv", [], "does not exist", DataError),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(tmp_path, name, rows, words, kind):
    rows_of(tmp_path, {"a": [1], "b": [2]})
    if rows:
        write(tmp_path / name, rows)
    elif rows is None:
        (tmp_path / name).write_bytes(b"\xff\xfe[1]\n")
    with pytest.raises(kind, match=words):
        load(f"table:{tmp_path / name}")


def test_an_empty_table_is_one_sentence(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="lists no training image"):
        load(f"table:{tmp_path / 'list.csv'}")


def test_parquet_without_the_extra_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match=r"list.parquet needs pyarrow, .*; pip install 'ltaug\[parquet\]'"):
        load(f"table:{tmp_path / 'list.parquet'}")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("images", [".", "images"])
def test_a_flat_folder_with_metadata_is_read_by_it(tmp_path, form, images):
    rows = rows_of(tmp_path / "set" / images, {"a": range(5), "b": range(5, 10)}, path="file_name")
    write(tmp_path / f"set/metadata.{form}", [row | {"file_name": f"{images}/{row['file_name']}"} for row in rows])
    dataset = load(f"folder:{tmp_path / 'set'}")
    assert dataset.train.class_names == ("a", "b")
    assert len(dataset.train) + len(dataset.test) == 10
    assert f"labels are read from metadata.{form}" in dataset.notes


def test_metadata_in_train_and_test_are_the_splits(tmp_path):
    for split, levels in (("train", {"a": [1, 2], "b": [3]}), ("test", {"a": [4], "b": [5]})):
        write(tmp_path / f"set/{split}/metadata.jsonl", rows_of(tmp_path / "set" / split, levels, path="file_name"))
    image(tmp_path / "set/train/more/9.png", 9)
    dataset = load(f"folder:{tmp_path / 'set'}")
    read = "labels are read from train/metadata.jsonl, test/metadata.jsonl, which leaves out images of the folder: 1"
    assert read in dataset.notes
    assert values(dataset.train) == {"a": [1, 2], "b": [3]}
    assert values(dataset.test) == {"a": [4], "b": [5]}


def test_metadata_without_labels_leaves_them_to_the_class_folders(tmp_path):
    for level, name in enumerate("ab" * 3):
        image(tmp_path / f"set/{name}/{level}.png", level)
    write(tmp_path / "set/metadata.csv", [{"file_name": "a/0.png", "text": "a lion"}])
    dataset = load(f"folder:{tmp_path / 'set'}")
    assert dataset.train.class_names == ("a", "b")
    assert len(dataset.train) + len(dataset.test) == 6


@pytest.mark.parametrize("splits", [("train",), ("train", "test")])
def test_a_flat_folder_of_splits_is_refused_with_the_remedy(tmp_path, splits):
    for split in splits:
        image(tmp_path / f"set/{split}/1.png", 1)
    with pytest.raises(LtaugError, match=r"no folders in train; put each class's .* or list them in metadata.csv"):
        load(f"folder:{tmp_path / 'set'}")


def test_an_exported_folder_is_read_back_with_its_names(tmp_path):
    from ltaug.data.imageset import ImageSet
    from ltaug.exporting.layouts import image_folder
    from ltaug.exporting.merged import Merged

    names = ("zebra", "sea/lion", "ant")
    images = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    real = ImageSet(images, np.arange(12) % 3, names, "real")
    (tmp_path / "out").mkdir()
    image_folder(Merged(real, real.take(np.zeros(0, np.int64)), (), "g"), tmp_path / "out")
    dataset = load(f"folder:{tmp_path / 'out'}")
    both = {name: sorted(values(dataset.train)[name] + values(dataset.test)[name]) for name in dataset.train.class_names}
    assert both == {name: values(real)[name] for name in sorted(names)}
