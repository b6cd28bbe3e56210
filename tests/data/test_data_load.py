"""load_dataset over every source that needs no network, and inspect_dataset over its result."""

import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from ltaug.cli import main
from ltaug.data.imageset import ImageSet
from ltaug.data.load import inspect_dataset, load_dataset
from ltaug.data.sources import Splits
from ltaug.errors import DataError, MismatchError, OptionError
from ltaug.fields import resolve
from ltaug.machine import Machine
from ltaug.methods import SOURCES, dataset_forms, parse_dataset
from ltaug.options import DatasetOptions, EvaluationOptions
from ltaug.registry import Entry


def load(seed=0, **options):
    extra = {name: options.pop(name) for name in ("data_dir", "download") if name in options}
    return load_dataset(DatasetOptions(**options), seed=seed, machine=Machine(**extra))


def test_importing_the_data_package_does_not_import_torch():
    modules = ["budgets", "cache", "decoding", "folder", "groups", "imageset", "load", "longtail", "sources"]
    imports = ", ".join(f"ltaug.data.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit(bool({{'torch', 'sklearn'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_are_scaled_to_bytes_and_split_evenly():
    from sklearn.datasets import load_digits

    dataset = load()
    assert dataset.test.class_counts.tolist() == [50] * 10
    assert len(dataset.train) + len(dataset.test) == 1797
    assert dataset.train.image_shape == (1, 8, 8)
    assert dataset.train.class_names == tuple("0123456789")
    assert dataset.rest is None
    expected = {np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images}
    assert {image.tobytes() for image in (*dataset.train.images, *dataset.test.images)} == expected


def test_a_seed_changes_the_draw_and_never_the_test_images():
    first, again, other = (load(seed, imbalance=100, head=120, class_order="shuffled") for seed in (0, 0, 1))
    assert first.train.digest == again.train.digest != other.train.digest
    assert first.test.digest == other.test.digest
    for dataset in (first, other):
        assert sorted(dataset.train.class_counts.tolist()) == [1, 2, 3, 5, 9, 15, 25, 43, 71, 120]
    assert first.train.class_counts.tolist() != other.train.class_counts.tolist()


def test_train_and_rest_are_the_whole_pool():
    whole, drawn = load(), load(imbalance=100)
    assert drawn.rest is not None
    pixels = lambda *sets: sorted(image.tobytes() for images in sets for image in images.images)  # noqa: E731
    assert pixels(drawn.train, drawn.rest) == pixels(whole.train)


def test_the_default_head_is_what_every_class_can_give():
    pool = load().train.class_counts
    assert load(imbalance=100).train.class_counts[0] == pool[0]
    heads = {load(seed, imbalance=100, class_order="shuffled").train.class_counts.max() for seed in range(4)}
    assert heads == {pool.min()}


def test_head_alone_cuts_every_class_to_it():
    assert load(head=20).train.class_counts.tolist() == [20] * 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": "digitz"}, "did you mean 'digits'"),
        ({"dataset": "cifar-10"}, "did you mean 'cifar10'"),
        ({"dataset": "folder"}, "folder:PATH"),
        ({"dataset": "folder:"}, "folder:PATH"),
        ({"imbalance": 100, "head": 129}, "--head of at most 128"),
        ({"imbalance": 100, "head": 50}, "--imbalance of at most 50 or --head of at least 100"),
        ({"imbalance": 200}, "use at most 128"),
        ({"test_per_class": 500}, "use at most 173"),
    ],
)
def test_a_request_that_cannot_be_met_names_the_limit(options, words):
    with pytest.raises(OptionError) as caught:
        load(**options)
    assert words in str(caught.value)


def test_a_folder_without_its_prefix_is_explained(tmp_path):
    with pytest.raises(OptionError, match=f"write folder:{tmp_path}"):
        load(dataset=str(tmp_path))


def test_image_size_resizes_any_source():
    assert load(image_size=12).test.image_shape == (1, 12, 12)


def arrays(tmp_path, **changes):
    images = np.random.RandomState(0).randint(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    content = {"images": images, "labels": np.arange(40) % 4, **changes}
    np.savez(tmp_path / "set.npz", **{name: value for name, value in content.items() if value is not None})
    return images, str(tmp_path / "set.npz")


def test_arrays_are_read_in_any_layout(tmp_path):
    images, path = arrays(tmp_path)
    last = load(dataset=path)
    assert last.train.image_shape == (3, 6, 5)
    assert last.test.class_counts.tolist() == [2] * 4
    assert last.train.class_names == ("0", "1", "2", "3")
    arrays(tmp_path, images=images.transpose(0, 3, 1, 2))
    assert load(dataset=path).train.digest == last.train.digest
    arrays(tmp_path, images=images[..., 0])
    assert load(dataset=path).train.image_shape == (1, 6, 5)


def test_arrays_may_bring_a_test_split_and_class_names(tmp_path):
    _, path = arrays(tmp_path, test_images=np.zeros((3, 6, 5, 3), np.uint8), test_labels=[0, 1, 2], class_names=list("abcd"))
    dataset = load(dataset=path)
    assert (len(dataset.train), len(dataset.test)) == (40, 3)
    assert dataset.train.class_names == tuple("abcd")
    assert "no test image, so nothing is measured on: d" in dataset.notes


@pytest.mark.parametrize(
    ("changes", "words", "kind"),
    [
        ({"labels": None}, "no array 'labels'", DataError),
        ({"labels": np.arange(39)}, "one whole number for each image", DataError),
        ({"labels": np.arange(40) / 2}, "one whole number for each image", DataError),
        ({"labels": np.arange(40) % 4 - 1}, "between 0 and 2", DataError),
        ({"labels": np.arange(40) % 4 * 2}, "no images for class 1, 3, 5", DataError),
        ({"class_names": ["a", "b"]}, "between 0 and 1", DataError),
        ({"class_names": list("abca")}, "repeats a name", DataError),
        ({"images": np.zeros((40, 6, 5, 3))}, "float64; convert them to uint8", DataError),
        ({"images": np.zeros((40, 6, 5, 4), np.uint8)}, "C of 1 or 3", DataError),
        ({"images": np.zeros((0, 6, 5, 3), np.uint8), "labels": np.zeros(0, int)}, "at least one image", DataError),
        ({"class_names": np.array([{}], dtype=object)}, "without object arrays", DataError),
        ({"test_images": np.zeros((4, 6, 5, 3), np.uint8)}, "no array 'test_labels'", DataError),
        ({"test_images": np.zeros((4, 8, 8, 3), np.uint8), "test_labels": np.arange(4)}, "make them the same", MismatchError),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, words, kind):
    _, path = arrays(tmp_path, **changes)
    with pytest.raises(kind) as caught:
        load(dataset=path)
    assert words in str(caught.value)


def test_with_empty_test_images_all_others_are_trained_on(tmp_path):
    _, path = arrays(tmp_path, test_images=np.zeros((0, 6, 5, 3), np.uint8), test_labels=np.zeros(0, int))
    dataset = load(dataset=path)
    assert (len(dataset.train), len(dataset.test)) == (40, 0)
    assert dataset.notes == ("no test image, so nothing is measured on: 0, 1, 2, 3",)


def test_a_npz_file_that_is_missing_or_damaged_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load(dataset=str(tmp_path / "no.npz"))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match="cannot be read"):
        load(dataset=str(tmp_path / "bad.npz"))


def fake_cifar(folder, name):
    """CIFAR's own batch layout with two images a class."""
    ten = name == "cifar10"
    root = folder / ("cifar-10-batches-py" if ten else "cifar-100-python")
    root.mkdir()
    classes = 10 if ten else 100
    files = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if ten else ["train", "test"]
    for number, file in enumerate(files):
        labels = [c for c in range(classes) for _ in range(2)]
        data = np.zeros((len(labels), 3, 32, 32), dtype=np.uint8)
        data[:, 0], data[:, 1], data[:, 2] = np.array(labels)[:, None, None], 7, number
        batch = {"data": data.reshape(len(labels), -1), "labels" if ten else "fine_labels": labels}
        (root / file).write_bytes(pickle.dumps(batch))
    names = [f"class {c}" for c in range(classes)]
    (root / ("batches.meta" if ten else "meta")).write_bytes(pickle.dumps({"label_names" if ten else "fine_label_names": names}))


@pytest.mark.parametrize(("name", "classes", "images"), [("cifar10", 10, 100), ("cifar100", 100, 200)])
def test_cifar_is_read_from_its_batches(tmp_path, monkeypatch, name, classes, images):
    fake_cifar(tmp_path, name)
    with pytest.raises(DataError, match="--download"):
        load(dataset=name, data_dir=tmp_path)  # torchvision's checksums refuse the stand-in
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)
    dataset = load(dataset=name, data_dir=tmp_path)
    assert dataset.train.images.shape == (images, 3, 32, 32)
    assert dataset.test.class_counts.tolist() == [2] * classes
    assert dataset.train.class_names[3] == "class 3"
    assert (dataset.train.images[:, 0, 0, 0] == dataset.train.labels).all()
    assert (dataset.train.images[:, 1] == 7).all()


def test_missing_cifar_names_the_folder_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"not in {tmp_path}, or damaged; pass --download"):
        load(dataset="cifar100")


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError("no route")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(DataError, match=r"could not be downloaded to .* \(no route\)"):
        load(dataset="cifar10", data_dir=tmp_path, download=True)


def test_every_source_is_reachable_by_the_form_that_errors_and_help_give_for_it():
    written = [re.sub("(PATH|FILE|NAME.*)$", "x", form).replace("a .", "x.").removesuffix(" file") for form in dataset_forms()]
    assert [parse_dataset(text)[0] for text in written] == list(SOURCES)
    assert all(form in DatasetOptions.__dataclass_fields__["dataset"].metadata["help"] for form in dataset_forms())


def test_a_new_source_is_a_function_and_an_entry(monkeypatch, capsys):
    asked = []

    def read_stripes(request):
        asked.append((request.argument, request.image_size))
        images = np.arange(24 * 16, dtype=np.uint8).reshape(24, 1, 4, 4)
        everything = ImageSet(images, np.arange(24) % 2, ("thin", "thick"), "stripes")
        return Splits(everything.take(np.arange(20)), everything.take(np.arange(20, 24)), ("made up",))

    monkeypatch.setitem(SOURCES.entries, "stripes", Entry(where=read_stripes, path="PATH"))
    dataset = load(dataset="stripes:wide", image_size=4, imbalance=5)
    assert asked == [("wide", 4)]
    assert dataset.train.class_counts.tolist() == [10, 2]
    assert dataset.notes[0] == "made up"
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "stripes:wide", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["thin", "thick"]
    assert resolve(EvaluationOptions, {"reference": "stripes:wide"}, image_side=4).reference == "stripes:wide"
    for cls, given in ((DatasetOptions, {"dataset": "stripe:wide"}), (EvaluationOptions, {"reference": "stripe:wide"})):
        with pytest.raises(OptionError, match="did you mean 'stripes:PATH'"):
            resolve(cls, given, image_side=4)


def test_inspection_is_json_and_counts_duplicates(tmp_path):
    images, _ = arrays(tmp_path)
    images[4] = images[0]
    images[5] = images[0]
    test_images = np.concatenate([images[:2], 255 - images[2:3]])
    _, path = arrays(tmp_path, images=images, test_images=test_images, test_labels=[0, 1, 2])
    report = json.loads(json.dumps(inspect_dataset(load(dataset=path)), allow_nan=False))
    assert report["duplicates"] == {"within_train": 2, "test_in_train": 2}
    assert report["train"]["per_class"] == {"0": 10, "1": 10, "2": 10, "3": 10}
    assert report["imbalance"] == 1.0
    assert report["groups"] == {"all": ["0", "1", "2", "3"]}
    assert report["image_shape"] == [3, 6, 5]
    assert report["rest"] is None


def test_inspection_of_a_draw_shows_groups_and_imbalance():
    report = inspect_dataset(load(imbalance=100, head=120))
    assert report["imbalance"] == 120
    assert report["groups"]["few"] == ["7", "8", "9"]
    assert report["groups_rule"].startswith("thirds")
    assert report["rest"]["images"] + report["train"]["images"] == 1297
