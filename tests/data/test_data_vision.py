"""Sets that torchvision knows by name, from tiny files in their own formats, and a stand-in for those that are hard to write."""

import gzip
import struct

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from ltaug.data.load import load_dataset
from ltaug.errors import DataError
from ltaug.machine import Machine
from ltaug.methods import SOURCES, VISION
from ltaug.options import DatasetOptions


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))


def load(name, folder, *, download=False, **options):
    machine = Machine(data_dir=folder, download=download)
    return load_dataset(DatasetOptions(dataset=name, **options), seed=0, machine=machine)


def picture(path, value, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def assert_value_is_label(*sets):
    """The images were made with their labels as the first channel's pixels."""
    for images in sets:
        assert len(images)
        assert [int(image[0, 0, 0]) for image in images.images] == images.labels.tolist()


@pytest.mark.parametrize("name", VISION)
def test_every_name_is_a_source_and_its_class_takes_what_names_its_splits(name, tmp_path):
    assert SOURCES[name]
    with pytest.raises(DataError, match=f"{name} is not in {tmp_path}, or damaged; pass --download"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_the_mnist_family_is_read_from_its_files(tmp_path, name):
    raw = tmp_path / VISION[name][0] / "raw"
    raw.mkdir(parents=True)
    labels = np.arange(20, dtype=np.uint8) % 10
    images = np.broadcast_to(labels[:, None, None], (20, 28, 28))
    for split in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
            (raw / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())
            with gzip.open(raw / f"{split}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + array.tobytes())
    dataset = load(name, tmp_path, image_size=8)
    assert dataset.train.image_shape == (1, 8, 8)
    assert dataset.train.class_names == tuple(getattr(torchvision.datasets, VISION[name][0]).classes)
    assert_value_is_label(dataset.train, dataset.test)


def test_svhn_is_read_from_its_matlab_files(tmp_path, monkeypatch):
    from scipy.io import savemat

    labels = np.arange(20) % 10
    images = np.broadcast_to(labels.astype(np.uint8), (32, 32, 3, 20))
    for split in ("train", "test"):
        savemat(tmp_path / f"{split}_32x32.mat", {"X": images, "y": np.where(labels == 0, 10, labels)[:, None]})
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5=None: True)
    dataset = load("svhn", tmp_path)
    assert dataset.train.image_shape == (3, 32, 32)
    assert dataset.train.class_names == tuple("0123456789")
    assert_value_is_label(dataset.train, dataset.test)


def test_eurosat_is_read_from_its_folders_and_test_images_are_held_out(tmp_path):
    for label, name in enumerate(("AnnualCrop", "Forest", "River")):
        for i in range(5):
            picture(tmp_path / f"eurosat/2750/{name}/{name}_{i}.png", label)
    dataset = load("eurosat", tmp_path)
    assert dataset.train.class_names == ("AnnualCrop", "Forest", "River")
    assert (len(dataset.train), len(dataset.test)) == (12, 3)
    assert_value_is_label(dataset.train, dataset.test)
    assert len(list((tmp_path / "cache/images").iterdir())) == 1


def test_gtsrb_is_read_from_its_folders_and_its_table_of_test_images(tmp_path):
    root = tmp_path / "gtsrb/GTSRB"
    for label in range(3):
        picture(root / f"Training/{label:05d}/{label}.ppm", label, size=(5 + label, 6))
        picture(root / f"Final_Test/Images/{label}.ppm", label)
    rows = ["Filename;Width;ClassId", *(f"{label}.ppm;6;{label}" for label in range(3))]
    (tmp_path / "gtsrb/GT-final_test.csv").write_text("\n".join(rows))
    dataset = load("gtsrb", tmp_path, image_size=4)
    assert dataset.train.class_names == ("0", "1", "2")
    assert_value_is_label(dataset.train, dataset.test)
    with pytest.raises(DataError, match="give --image-size"):
        load("gtsrb", tmp_path)


@pytest.mark.parametrize("files", ["_image_files", "_images"])
@pytest.mark.parametrize("name", [name for name in VISION if VISION[name][0] in ("DTD", "OxfordIIITPet")])
def test_sets_of_a_list_of_files_and_one_of_labels_are_read(tmp_path, monkeypatch, name, files):
    class Stand:
        classes = ("a", "b")

        def __init__(self, folder, *, split, download):
            asked.append((split, download))
            self._labels = [1, 0, 1]
            setattr(self, files, [folder / f"{split}-{i}.png" for i in range(3)])
            for path, label in zip(getattr(self, files), self._labels, strict=True):
                picture(path, label)

    asked = []
    monkeypatch.setattr(torchvision.datasets, VISION[name][0], Stand)
    dataset = load(name, tmp_path, download=True)
    assert asked == [(split["split"], True) for split in VISION[name][1]]
    assert dataset.train.class_names == ("a", "b")
    assert_value_is_label(dataset.train, dataset.test)


def test_the_files_of_every_set_of_files_stand_where_they_are_looked_for():
    """The attributes are torchvision's own: its source must still set one of them."""
    import inspect

    for name in ("DTD", "Flowers102", "Food101", "OxfordIIITPet", "FGVCAircraft"):
        source = inspect.getsource(getattr(torchvision.datasets, name))
        assert "self._labels" in source, name
        assert "self._image_files" in source or "self._images = [" in source, name


def test_stl10_is_read_from_its_binary_files(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    (folder / "fold_indices.txt").write_text("")
    for split in ("train", "test"):
        labels = np.arange(10, dtype=np.uint8)
        np.broadcast_to(labels[:, None, None, None], (10, 3, 96, 96)).tofile(folder / f"{split}_X.bin")
        (labels + 1).tofile(folder / f"{split}_y.bin")
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda path, md5=None: True)
    dataset = load("stl10", tmp_path)
    assert dataset.train.class_names == tuple("abcdefghij")
    assert_value_is_label(dataset.train, dataset.test)
