"""What others read from an export: every image with ltaug's label number, and what is known of it."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from ltaug.data.imageset import ImageSet, pixel_digest
from ltaug.exporting.layouts import PER_FILE, folder_names
from ltaug.exporting.merged import COLUMNS, Merged
from ltaug.manifest import Row
from ltaug.methods import LAYOUTS

NAMES = ("zebra", "sea/lion", "empty", "ant")  # sorted otherwise, one with a slash, one without images


def row(image, class_, index):
    made = {"seed": 3, "guidance": 0.5, "guidance_interval": "0,1", "sampler": "heun", "steps": 9, "checkpoint": "c" * 16}
    found = {"feature_distance": "", "nearest_real": 1, "nearest_distance": "12.5", "verdict": "kept"}
    return Row(file=f"images/{index}.png", class_=class_, index=index, sha256=pixel_digest(image), **made, **found)


def merged_of(real_labels, synthetic_labels, *, channels=3):
    draw = np.random.RandomState(0)
    sets = []
    for labels in (real_labels, synthetic_labels):
        images = draw.randint(0, 256, (len(labels), channels, 6, 5)).astype(np.uint8)
        sets.append(ImageSet(images, np.array(labels, np.int64), NAMES, "made"))
    real, synthetic = sets
    rows = tuple(row(synthetic.images[i], NAMES[k], i) for i, k in enumerate(synthetic_labels))
    return Merged(real, synthetic, rows, "g" * 64)


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def merged(request):
    return merged_of([0, 0, 1, 3], [3, 1, 3], channels=request.param)


def written(merged, to, folder):
    folder.mkdir()
    LAYOUTS[to](merged, folder)
    return folder


def pixels_of(picture):
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def assert_equal_rows(rows, merged):
    """Rows of `datasets`, with an image, a label and what is known."""
    assert sorted(r["sha256"] for r in rows) == sorted(merged.about(i)["sha256"] for i in range(len(merged)))
    places = {merged.about(i)["sha256"]: i for i in range(len(merged))}
    for found in rows:
        i = places[found["sha256"]]
        assert pixel_digest(pixels_of(found["image"])) == found["sha256"]
        assert found["label"] == merged.labels[i]
        assert {name: found[name] for name in COLUMNS} == merged.about(i)


def test_names_that_sort_in_class_order_stay_and_others_get_their_number_in_front():
    assert folder_names(("ant", "bee")) == ["ant", "bee"]
    assert folder_names(tuple(map(str, range(11))))[9:] == ["09_9", "10_10"]
    assert folder_names(NAMES) == ["0_zebra", "1_sea%2Flion", "2_empty", "3_ant"]


def test_the_weight_of_an_image_is_one_over_the_images_of_its_class(merged):
    known = [merged.about(i) for i in range(len(merged))]
    assert [one["weight"] for one in known if one["class"] == "zebra"] == [0.5, 0.5]
    assert [one["weight"] for one in known if one["class"] == "ant"] == pytest.approx([1 / 3] * 3)


def test_ultralytics_finds_the_classes_in_order_and_each_image_in_its_own(merged, tmp_path):
    train = written(merged, "imagefolder", tmp_path / "e") / "train"
    classes = sorted(path.name for path in train.glob("*") if path.is_dir())  # as its check_cls_dataset does
    assert classes == folder_names(NAMES)
    found = {pixel_digest(pixels_of(Image.open(path))): classes.index(path.parent.name) for path in train.rglob("*.png")}
    assert found == {merged.about(i)["sha256"]: int(merged.labels[i]) for i in range(len(merged))}


def test_torchvision_gives_every_image_of_a_folder_its_label(merged, tmp_path):
    from torchvision.datasets import ImageFolder

    found = ImageFolder(written(merged, "imagefolder", tmp_path / "e") / "train", allow_empty=True)
    assert len(found.classes) == len(NAMES)
    mode = {1: "L", 3: "RGB"}[merged.real.image_shape[0]]
    labels = {pixel_digest(pixels_of(image.convert(mode))): label for image, label in found}
    assert labels == {merged.about(i)["sha256"]: int(merged.labels[i]) for i in range(len(merged))}


def test_datasets_gives_every_image_of_a_folder_its_label(merged, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = written(merged, "imagefolder", tmp_path / "e")
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=tmp_path / "c", split="train")
    assert_equal_rows(list(rows), merged)


@pytest.mark.parametrize("to", ["parquet", "hf"])
def test_datasets_reads_labels_names_and_provenance_back(merged, to, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = written(merged, to, tmp_path / "e")
    if to == "hf":
        found = datasets.load_from_disk(folder)["train"]
    else:
        found = datasets.load_dataset(str(folder), cache_dir=tmp_path / "c", split="train")
    assert found.features["label"].names == list(NAMES)
    assert_equal_rows(list(found), merged)


def test_a_set_of_synthetic_images_alone_has_all_classes(tmp_path):
    datasets = pytest.importorskip("datasets")
    merged = merged_of([], [3, 3])
    found = datasets.load_dataset(str(written(merged, "parquet", tmp_path / "e")), cache_dir=tmp_path / "c", split="train")
    assert found["label"][:] == [3, 3]
    assert found.features["label"].names == list(NAMES)


def test_webdataset_reads_images_labels_and_provenance_back(merged, tmp_path):
    wds = pytest.importorskip("webdataset")
    tars = sorted(map(str, written(merged, "webdataset", tmp_path / "e").iterdir()))
    rows = [
        {"image": image, "label": label, **dict.fromkeys(COLUMNS), **about}
        for image, label, about in wds.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple("png", "cls", "json")
    ]
    mode = {1: "L", 3: "RGB"}[merged.real.image_shape[0]]
    assert_equal_rows([r | {"image": r["image"].convert(mode)} for r in rows], merged)


def test_datasets_reads_images_and_labels_of_shards(merged, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = written(merged, "webdataset", tmp_path / "e")
    rows = list(datasets.load_dataset(str(folder), cache_dir=tmp_path / "c", split="train"))
    assert {(pixel_digest(pixels_of(row["png"])), row["cls"]) for row in rows} == {
        (merged.about(i)["sha256"], int(merged.labels[i])) for i in range(len(merged))
    }


def test_large_sets_are_written_in_parts(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    merged = merged_of([0] * PER_FILE, [1])
    shards = sorted(written(merged, "webdataset", tmp_path / "w").iterdir())
    sizes = []
    for shard in shards:
        with tarfile.open(shard) as archive:
            sizes.append(len(archive.getnames()) // 3)
    assert sizes == [PER_FILE, 1]
    (file,) = (written(merged, "parquet", tmp_path / "p") / "data").iterdir()
    assert pq.ParquetFile(file).num_row_groups == 2
