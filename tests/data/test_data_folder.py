"""Image folders: any layout, mode and size; every bad file named; decoded once."""

import json
import os
import shutil
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from waiting import LONG

from ltaug.data.decoding import decode, filling, resize_all
from ltaug.data.imageset import ImageSet, MappedRows
from ltaug.data.load import inspect_dataset, load_dataset
from ltaug.errors import CorruptError, DataError, LtaugError, MismatchError
from ltaug.files import HALF, file_digest
from ltaug.machine import Machine
from ltaug.options import DatasetOptions


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))


def save(path, value=0, *, mode="RGB", size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(
        mode, size, value if mode in ("L", "1", "I;16", "F", "P") or isinstance(value, tuple) else (value,) * len(mode)
    ).save(path, **options)


def tree(root, counts, **options):
    for name, count in counts.items():
        for i in range(count):
            save(root / name / f"{i:03}.png", i + 1, **options)
    return root


def load(root, **options):
    how = {name: options.pop(name, False) for name in ("skip_bad", "verify")}
    return load_dataset(DatasetOptions(dataset=f"folder:{root}", **options), seed=0, machine=Machine(**how))


def test_train_and_test_folders_load_as_they_are(tmp_path):
    root = tmp_path / "set"
    tree(root / "train", {"b": 3, "a": 1})
    tree(root / "test", {"a": 2, "b": 2})
    dataset = load(root)
    assert dataset.train.class_names == ("a", "b")
    assert dataset.train.class_counts.tolist() == [1, 3]
    assert dataset.test.class_counts.tolist() == [2, 2]
    assert dataset.train.images[:, 0, 0, 0].tolist() == [1, 1, 2, 3]
    assert dataset.rest is None
    assert "one training image only: a" in dataset.notes


@pytest.mark.parametrize("name", ["val", "validation"])
def test_a_validation_folder_serves_as_test_split(tmp_path, name):
    tree(tmp_path / "set/train", {"a": 2, "b": 2})
    tree(tmp_path / f"set/{name}", {"a": 1, "b": 1})
    tree(tmp_path / "set/more", {"a": 1})
    dataset = load(tmp_path / "set", test_per_class=1)
    assert len(dataset.test) == 2
    assert "folders beside train/ not used: more" in dataset.notes
    assert any(note.startswith("--test-per-class 1 was not needed") for note in dataset.notes)


def test_a_class_may_be_called_train(tmp_path):
    dataset = load(tree(tmp_path / "set", {"train": 5, "bus": 5}))
    assert dataset.train.class_names == ("bus", "train")


def test_without_a_test_split_a_fifth_is_held_out_the_same_for_every_seed(tmp_path):
    root = tree(tmp_path / "set", {"a": 10, "b": 5, "c": 1})
    options = DatasetOptions(dataset=f"folder:{root}")
    first, second = (load_dataset(options, seed=seed) for seed in (0, 1))
    assert first.test.class_counts.tolist() == [2, 1, 0]
    assert first.train.class_counts.tolist() == [8, 4, 1]
    assert first.test.digest == second.test.digest
    assert "too few images to hold one out for testing: c" in first.notes
    assert "no test image, so nothing is measured on: c" in first.notes
    assert load(tree(tmp_path / "two", {"a": 10, "b": 5}), test_per_class=3).test.class_counts.tolist() == [3, 3]


def test_hidden_files_are_ignored_in_silence_and_others_are_counted(tmp_path):
    root = tree(tmp_path / "set", {"a": 4, "b": 4, ".git": 1, "__MACOSX": 1})
    for name in ("a/.DS_Store", "a/._000.png", "b/.cache/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "a/labels.txt").write_text("x")
    (root / "README.md").write_text("x")
    save(root / "b/deeper/1.PNG", 9)
    dataset = load(root)
    assert len(dataset.train) + len(dataset.test) == 9
    assert any(note.startswith("files ignored") and note.endswith(": 2") for note in dataset.notes)


RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("1", 1, "x.png", (255, 255, 255)),
        ("L", 70, "x.png", (70, 70, 70)),
        ("LA", (0, 0), "x.png", (255, 255, 255)),
        ("RGB", RED, "x.png", RED),
        ("RGBA", (*RED, 0), "x.png", (255, 255, 255)),
        ("RGBA", (*RED, 255), "x.png", RED),
        ("CMYK", (0, 255, 255, 0), "x.tif", RED),
        ("I;16", 65535 // 2, "x.png", (127, 127, 127)),
        ("I;16", 65535, "x.png", (255, 255, 255)),
    ],
)
def test_every_mode_becomes_the_colour_a_viewer_shows(tmp_path, mode, colour, name, expected):
    save(tmp_path / name, colour, mode=mode)
    decoded = decode(tmp_path / name, image_size=None)
    assert decoded.pixels.shape == (3, 8, 8)
    assert tuple(decoded.pixels[:, 3, 3].tolist()) == expected
    assert decoded.grey == (mode in ("1", "L", "LA", "I;16"))


def test_a_palette_with_a_transparent_colour_is_put_on_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "p.png", transparency=0)
    pixels = decode(tmp_path / "p.png", image_size=None).pixels
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 1, 1].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("L", (6, 4), 0)
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    image.save(tmp_path / "x.png", exif=exif)
    pixels = decode(tmp_path / "x.png", image_size=None).pixels
    assert pixels.shape == (3, 6, 4)
    assert pixels[0, 0, 3] == 255


def test_grey_needs_every_image_grey(tmp_path):
    root = tree(tmp_path / "set", {"a": 5, "b": 5}, mode="L")
    assert load(root).train.image_shape == (1, 8, 8)
    save(root / "b/extra.png", RED)
    assert load(root).train.image_shape == (3, 8, 8)


def test_resizing_crops_the_centre_and_averages_fine_patterns():
    stripes = np.zeros((64, 128, 3), dtype=np.uint8)
    stripes[:, 32:96] = 200 * (np.indices((64, 64)).sum(0) % 2)[..., None]
    small = np.asarray(filling(Image.fromarray(stripes), (8, 8)))
    assert small.shape == (8, 8, 3)
    assert np.abs(small[1:-1, 1:-1].astype(int) - 100).max() <= 3  # a point sample would give 0 or 200
    tall = np.repeat(np.repeat(np.array([[9], [50], [9]], dtype=np.uint8), 10, 0), 10, 1)
    assert (resize_all(tall[None, None], 10) == 50).all()


def test_sizes_that_differ_need_image_size(tmp_path):
    root = tree(tmp_path / "set", {"a": 3, "b": 3})
    save(root / "b/wide.png", 5, size=(20, 10))
    with pytest.raises(DataError, match=r"a/000.png has 8x8 pixels, b/wide.png 20x10; give --image-size"):
        load(root)
    assert load(root, image_size=6).train.image_shape == (3, 6, 6)


def break_files(root):
    good = (root / "a/000.png").read_bytes()
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (8, 8, 3), dtype=np.uint8))
    noise.save(root / "b/whole.jpg")
    (root / "a/zero.png").write_bytes(b"")
    (root / "a/cut.png").write_bytes(good[: len(good) // 2])
    (root / "b/text.png").write_text("not an image")
    (root / "b/cut.jpg").write_bytes((root / "b/whole.jpg").read_bytes()[:-200])
    return ["a/cut.png", "a/zero.png", "b/cut.jpg", "b/text.png"]


def test_every_unreadable_image_is_named_and_can_be_left_out(tmp_path):
    root = tree(tmp_path / "set", {"a": 5, "b": 4})
    bad = break_files(root)
    with pytest.raises(DataError, match="4 images cannot be read") as caught:
        load(root)
    assert all(name in str(caught.value) for name in bad)
    assert "--skip-bad" in str(caught.value)
    dataset = load(root, skip_bad=True)
    assert (dataset.train.class_counts + dataset.test.class_counts).tolist() == [5, 5]
    assert "unreadable images left out: 4 (a/cut.png, a/zero.png, b/cut.jpg, b/text.png)" in dataset.notes
    with pytest.raises(DataError, match="4 images cannot be read"):
        load(root)  # the cache that --skip-bad left does not hide them


def test_labels_stay_with_their_images_when_bad_ones_are_left_out(tmp_path):
    root = tmp_path / "set"
    for split in ("train", "test"):
        tree(root / split, {"a": 3, "b": 3})
        (root / split / "a/001.png").write_bytes(b"")
    dataset = load(root, skip_bad=True)
    for images in (dataset.train, dataset.test):
        assert images.labels.tolist() == [0, 0, 1, 1, 1]
        assert images.images[:, 0, 0, 0].tolist() == [1, 3, 1, 2, 3]


def test_a_link_to_nowhere_is_an_unreadable_image(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    (root / "a/lost.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"1 image cannot be read: a/lost.png \(No such file or directory\)"):
        load(root)


def test_a_folder_that_cannot_be_listed_is_one_sentence(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    monkeypatch.setattr("ltaug.data.folder.os.scandir", refuse)
    with pytest.raises(DataError, match="check its permissions"):
        load(root)


def test_every_image_of_a_large_folder_is_its_own_file_s(tmp_path, monkeypatch):
    root = tree(tmp_path / "set", {"a": 90, "b": 37})
    monkeypatch.setattr("ltaug.data.decoding._TASK", 2)
    monkeypatch.setattr("ltaug.data.decoding.os.cpu_count", lambda: 3)
    dataset = load(root)
    for label, count in enumerate((90, 37)):
        found = [int(s.images[i][0, 0, 0]) for s in (dataset.train, dataset.test) for i in np.flatnonzero(s.labels == label)]
        assert sorted(found) == list(range(1, count + 1))


def test_of_several_that_want_the_same_images_one_decodes_and_the_others_wait(tmp_path, monkeypatch):
    root = tree(tmp_path / "set", {"a": 4, "b": 4})
    decoding, said, decoded = threading.Event(), threading.Event(), []

    def slowly(path, **how):
        decoding.set()
        assert said.wait(LONG)
        decoded.append(path.name)
        return decode(path, **how)

    def digest(progress):
        return load_dataset(DatasetOptions(dataset=f"folder:{root}"), seed=0, progress=progress).train.digest

    monkeypatch.setattr("ltaug.data.decoding.decode", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(digest, lambda *event: None)
        assert decoding.wait(LONG)
        second = pool.submit(digest, lambda text, step, total: said.set() if text.startswith("waiting") else None)
        assert first.result() == second.result()
    assert len(decoded) == 8


def test_what_a_killed_build_left_is_no_entry_and_is_removed_by_the_next(tmp_path):
    root = tree(tmp_path / "set", {"a": 4, "b": 4})
    digest = load(root).train.digest
    (entry,) = (tmp_path / "cache/images").iterdir()
    left = entry.with_name(f".{entry.name}.killed{HALF}")
    entry.rename(left)
    (left / "files.json").unlink()
    other = entry.with_name(".of another entry")
    other.mkdir()
    assert load(root).train.digest == digest
    assert sorted((tmp_path / "cache/images").iterdir()) == sorted([entry, other])


def test_a_long_list_of_bad_images_is_cut_at_ten(tmp_path):
    root = tree(tmp_path / "set", {"a": 1, "b": 1})
    for i in range(13):
        (root / f"a/bad{i:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"13 images cannot be read: .*bad09.png .*; and 3 more"):
        load(root)


def test_a_class_that_loses_all_its_images_is_named(tmp_path):
    root = tree(tmp_path / "set", {"a": 2})
    (root / "b").mkdir()
    (root / "b/x.png").write_bytes(b"")
    with pytest.raises(DataError, match="without its unreadable images class b has none left"):
        load(root, skip_bad=True)
    (root / "a/000.png").write_bytes(b"")
    (root / "a/001.png").write_bytes(b"")
    with pytest.raises(DataError, match="3 images cannot be read"):
        load(root, skip_bad=True)


@pytest.mark.parametrize(
    ("prepare", "words", "kind"),
    [
        (lambda root: None, "does not exist", DataError),
        (lambda root: root.write_text("x"), "is a file", DataError),
        (lambda root: root.mkdir(), "is empty", DataError),
        (lambda root: save(root / "1.png"), "holds files but no folders", DataError),
        (lambda root: [tree(root, {"a": 2}), (root / "b").mkdir()], "no images for class b", DataError),
        (
            lambda root: [tree(root / "train", {"a": 2, "b": 1}), tree(root / "test", {"a": 1, "c": 1})],
            "test lacks b",
            MismatchError,
        ),
        (lambda root: [tree(root / "train", {"a": 2}), save(root / "test/1.png")], "no folders", DataError),
    ],
)
def test_a_folder_that_is_no_dataset_is_refused(tmp_path, prepare, words, kind):
    prepare(tmp_path / "set")
    with pytest.raises(kind, match=words):
        load(tmp_path / "set")


def test_the_second_load_maps_the_cache_and_decodes_nothing(tmp_path, monkeypatch):
    root = tmp_path / "set"
    tree(root / "train", {"a": 3, "b": 3})
    tree(root / "test", {"a": 1, "b": 1})
    before = sorted(root.rglob("*"))
    seen = []
    options = DatasetOptions(dataset=f"folder:{root}")
    cold = load_dataset(options, seed=0, progress=lambda *event: seen.append(event))
    assert seen == [("decoding images", 8, 8)]
    monkeypatch.setattr("ltaug.data.decoding.decode", None)
    warm = load_dataset(options, seed=0)
    assert isinstance(warm.train.images, np.memmap)
    assert not warm.train.images.flags.writeable
    assert (cold.train.digest, cold.test.digest) == (warm.train.digest, warm.test.digest)
    assert sorted(root.rglob("*")) == before, "nothing is written beside the data"


def test_a_draw_from_a_folder_stays_on_disk_and_its_digest_is_known_without_its_pixels(tmp_path, monkeypatch):
    root = tree(tmp_path / "set", {"a": 12, "b": 12})
    whole = load(root, imbalance=4)
    wanted = [ImageSet(np.array(s.images), s.labels, s.class_names, "").digest for s in (whole.train, whole.test)]
    seen = [image.tobytes() for image in whole.train.images]
    copied = sum(image.tobytes() in seen for image in whole.test.images)
    assert copied > 0
    monkeypatch.setattr("ltaug.data.imageset.hash_images", None)
    dataset = load(root, imbalance=4)
    for images in (dataset.train, dataset.test, dataset.rest):
        assert isinstance(images.images, MappedRows)
    assert [dataset.train.digest, dataset.test.digest] == wanted
    assert inspect_dataset(dataset)["duplicates"] == {"within_train": len(seen) - len(set(seen)), "test_in_train": copied}


def test_links_to_folders_are_passed_over_and_links_to_files_followed(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    tree(tmp_path, {"elsewhere": 3})
    (root / "a/more").symlink_to(tmp_path / "elsewhere")
    (root / "b/linked.png").symlink_to(tmp_path / "elsewhere/002.png")
    dataset = load(root)
    assert (dataset.train.class_counts + dataset.test.class_counts).tolist() == [2, 3]
    digest = dataset.train.digest
    save(tmp_path / "elsewhere/002.png", 99)
    assert load(root).train.digest != digest or load(root).test.digest != dataset.test.digest


def test_a_changed_file_or_another_folder_is_decoded_anew(tmp_path):
    root = tree(tmp_path / "set", {"a": 4, "b": 4})
    first = load(root).train.digest
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for path in copy.rglob("*.png"):  # as an archive with one time and uncompressed images would unpack
        time = (root / path.relative_to(copy)).stat().st_mtime_ns
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(time, time))
    assert load(copy).train.digest == first
    assert len(list((tmp_path / "cache/images").iterdir())) == 2
    for path in (root / "a").iterdir():
        save(path, 200)
    assert load(root).train.digest != first


def test_a_failed_build_leaves_nothing_in_the_cache(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    (root / "a/000.png").write_bytes(b"")
    with pytest.raises(DataError):
        load(root)
    assert list((tmp_path / "cache/images").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncate", "json", "count", "pixel"])
def test_a_damaged_cache_is_refused_with_the_remedy(tmp_path, damage):
    root = tree(tmp_path / "set", {"a": 4, "b": 4})
    load(root)
    (entry,) = (tmp_path / "cache/images").iterdir()
    if damage == "truncate":
        os.truncate(entry / "images.npy", 300)
    elif damage == "json":
        (entry / "files.json").write_text("{")
    elif damage == "count":
        meta = json.loads((entry / "files.json").read_text())
        (entry / "files.json").write_text(json.dumps({**meta, "images": meta["images"] - 1}))
    else:
        load(root)
        with (entry / "images.npy").open("r+b") as file:
            file.seek(-7, os.SEEK_END)
            file.write(b"?")
    with pytest.raises(CorruptError, match=f"is damaged.*; delete {entry} and run its command again"):
        load(root)


def test_the_pixels_of_a_cache_are_read_for_their_digest_only_where_its_file_has_changed(tmp_path, monkeypatch):
    root = tree(tmp_path / "set", {"a": 4, "b": 4})
    load(root)
    (entry,) = (tmp_path / "cache/images").iterdir()
    read = []
    monkeypatch.setattr("ltaug.files.file_digest", lambda path: read.append(path.name) or file_digest(path))
    load(root)
    assert "images.npy" not in read
    copy = entry.with_name("copy")
    shutil.copytree(entry, copy)
    shutil.rmtree(entry)
    copy.rename(entry)
    load(root)
    assert read.count("images.npy") == 1
    load(root)
    assert read.count("images.npy") == 1


def test_pixels_that_change_behind_an_unchanged_size_and_time_are_found_with_verify(tmp_path):
    root = tree(tmp_path / "set", {"a": 4, "b": 4})
    load(root)
    (pixels,) = (tmp_path / "cache/images").glob("*/images.npy")
    before, content = pixels.stat(), pixels.read_bytes()
    load(root, verify=True)
    pixels.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(pixels, ns=(before.st_atime_ns, before.st_mtime_ns))
    load(root)
    with pytest.raises(CorruptError, match=r"images\.npy is damaged"):
        load(root, verify=True)


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(DataError, match="set LTAUG_CACHE to another folder"):
        load(tree(tmp_path / "set", {"a": 2, "b": 2}))


def test_a_full_disk_is_noticed_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr("ltaug.data.cache.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10))
    with pytest.raises(DataError, match="set LTAUG_CACHE to a larger disk"):
        load(tree(tmp_path / "set", {"a": 2, "b": 2}))


def test_floating_point_pixels_are_refused(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    save(root / "a/float.tif", 0.5, mode="F")
    with pytest.raises(LtaugError, match="floating-point pixels have no fixed range"):
        load(root)


CONVERTED = [
    ("deep.png", {"mode": "I;16", "value": 300}, {}, "16 bits to 8"),
    ("clear.png", {"mode": "RGBA", "value": (*RED, 9)}, {}, "alpha channel put on white"),
    ("print.tif", {"mode": "CMYK", "value": (0, 255, 255, 0)}, {}, "CMYK to RGB"),
    ("turned.tif", {"value": 5}, {"exif": {274: 6}}, "turned as EXIF says"),
    ("turned.jpg", {"value": 5}, {"exif": {274: 6}}, "turned as EXIF says"),
    ("moving.gif", {"value": 5}, {"frames": 2}, "first of several frames"),
    ("moving.png", {"value": 5}, {"frames": 2}, "first of several frames"),
    ("moving.webp", {"value": 5}, {"frames": 2}, "first of several frames"),
    ("phone.mpo", {"value": 5}, {"frames": 2}, "first of several frames"),
    ("still.gif", {"mode": "P", "value": 1}, {}, None),
    ("still.jpg", {"value": 5}, {}, None),
    ("page.tif", {"value": 5}, {}, None),
    ("plain.ppm", {"value": 5}, {}, None),
    ("plain.bmp", {"value": 5}, {}, None),
]


@pytest.mark.parametrize(("name", "picture", "more", "said"), CONVERTED, ids=[case[0] for case in CONVERTED])
def test_what_decoding_changes_is_told(tmp_path, name, picture, more, said):
    options = {}
    if "exif" in more:
        options["exif"] = Image.Exif()
        options["exif"].update(more["exif"])
    if "frames" in more:
        others = [Image.new(picture.get("mode", "RGB"), (8, 8), 77 * i + 99) for i in range(more["frames"] - 1)]
        options |= {"save_all": True, "append_images": others}
    save(tmp_path / name, picture["value"], mode=picture.get("mode", "RGB"), **options)
    assert decode(tmp_path / name, image_size=None).converted == (() if said is None else (said,))


def test_colours_of_16_bits_are_told(tmp_path):
    rows = zlib.compress(b"".join(b"\0" + b"\1\2" * 6 for _ in range(2)))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    chunks = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in parts)
    decoded = decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), image_size=None)
    assert decoded.converted == ("16 bits to 8",)
    assert (decoded.pixels == 1).all()


@pytest.mark.parametrize("ppm", [b"P6 1 1 65535\n" + b"\1\2" * 3, b"P3 1 1 65535\n257 257 257\n", b"P6 1 1 1023\n" + b"\0\4" * 3])
def test_colours_of_a_ppm_of_more_than_8_bits_are_told(ppm):
    decoded = decode(ppm, image_size=None)
    assert decoded.converted == ("16 bits to 8",)
    assert (decoded.pixels == 1).all()


def test_a_tiff_with_16_bits_in_planes_is_refused_as_pillow_takes_its_bytes_for_pixels():
    short, strips, lists = 3, (8, 10, 12), 20  # three pixels' bytes from 8 on, then the lists of bits, offsets and sizes
    lists_of = struct.pack("<3H3I3I", 16, 16, 16, *strips, 2, 2, 2)
    tags = [(256, short, 1, 1), (257, short, 1, 1), (258, short, 3, lists), (259, short, 1, 1), (262, short, 1, 2)]
    tags += [(273, 4, 3, lists + 6), (277, short, 1, 3), (278, short, 1, 1), (279, 4, 3, lists + 18), (284, short, 1, 2)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    content = b"\1\2" * 3 + b"\0" * 6 + lists_of
    tiff = b"II*\0" + struct.pack("<I", 8 + len(content)) + content + struct.pack("<H", len(tags)) + entries + b"\0" * 4
    with pytest.raises(ValueError, match="in planes, are not read; save it with 8 bits"):
        decode(tiff, image_size=None)


def test_conversions_are_counted_and_survive_the_cache(tmp_path):
    root = tree(tmp_path / "set", {"a": 5, "b": 5}, mode="LA")
    note = "images converted: alpha channel put on white (10)"
    assert [load(root).notes[0], load(root).source_notes[0]] == [note, note]
    save(root / "b/colour.png", RED)
    save(root / "b/deep.png", 999, mode="I;16")
    for _ in range(2):
        note = "images converted: 16 bits to 8 (1), alpha channel put on white (10), grey to RGB (11)"
        assert load(root).source_notes[0] == note


def test_a_file_in_another_format_is_not_opened_whatever_it_is_called(tmp_path, monkeypatch):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    for name, kind in (("a/e.png", "EPS"), ("b/j.jpg", "JPEG2000"), ("b/i.bmp", "ICO"), ("b/t.gif", "TGA")):
        Image.new("RGB", (16, 16)).save(root / name, kind)
    monkeypatch.setattr("subprocess.Popen", None)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    with pytest.raises(
        DataError, match=r"4 images cannot be read: a/e.png \(not an image \(PNG, JPEG, WEBP, BMP, TIFF, GIF, PPM\)\)"
    ):
        load(root)
    assert len(load(root, skip_bad=True).train) == 2


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    root = tree(tmp_path / "set", {"a": 3, "b": 3})
    save(root / "a/bomb.png", size=(40, 30))
    options = DatasetOptions(dataset=f"folder:{root}", image_size=8)
    whole = load_dataset(options, seed=0, machine=Machine(max_image_pixels=1200)).train
    assert len(load_dataset(options, seed=0, machine=Machine(max_image_pixels=1199, skip_bad=True)).train) == len(whole) - 1
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    words = r"a/bomb.png \(40x30 are 1,200 pixels, more than --max-image-pixels 1,198; raise that to read it\)"
    monkeypatch.setattr("ltaug.data.decoding.to_pixels", lambda *args: pytest.fail("decoded"))
    for bomb in (root / "a/bomb.png", (root / "a/bomb.png").read_bytes()):
        with pytest.raises(ValueError, match="40x30 are 1,200 pixels"):
            decode(bomb, image_size=None, max_pixels=1198)
    monkeypatch.undo()
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=words):
        load_dataset(options, seed=0, machine=Machine(max_image_pixels=1198))


def test_a_class_folder_whose_name_is_no_text_is_refused_in_one_sentence(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, os.fsdecode(b"caf\xe9"): 2})
    with pytest.raises(DataError, match=r"the name of the folder b'.*/set/caf\\xe9' is not UTF-8; rename it"):
        load(root)
    with pytest.raises(DataError, match="is not UTF-8"):
        load(tree(tmp_path / os.fsdecode(b"\xff"), {"a": 2, "b": 2}))


def test_a_file_whose_name_is_no_text_is_read_and_named_if_it_cannot_be(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    save(root / "a" / os.fsdecode(b"caf\xe9.png"), 9)
    assert len(load(root).train) + len(load(root).test) == 5
    (root / "a" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    notes = load(root, skip_bad=True).notes
    assert r"unreadable images left out: 1 (a/caf\udce9.png)" in notes


def test_links_in_a_circle_are_passed_over_and_counted(tmp_path):
    root = tree(tmp_path / "set", {"a": 2, "b": 2})
    digest = load(root).train.digest
    for link, target in (("a/loop.png", "loop.png"), ("loop", "loop"), ("all", "."), ("up", ".."), ("b/x", "y"), ("b/y", "x")):
        (root / link).symlink_to(target)
    dataset = load(root)
    assert dataset.train.class_names == ("a", "b")
    assert dataset.train.digest == digest
    assert any(note.endswith("outside the class folders or links in a circle: 6") for note in dataset.notes)
