"""Kept images as WebDataset shards, in the run or at a URL: what is in them, what damage does, what is refused."""

import io
import json
import tarfile
import uuid

import fsspec
import numpy as np
import pytest
from making import NAMES, HalfJudge, synthesize, together

from ltaug.data.folder import class_folder
from ltaug.data.shards import read_images
from ltaug.errors import CorruptError, DataError, OptionError
from ltaug.manifest import read_manifest, read_synthetic
from ltaug.synthesis import stores
from ltaug.synthesis.stores import check_store, check_url

WANTED = {"budget": {"cat": 17, "sea/lion": 0, "..": 14}, "judges": [HalfJudge()], "select_agreement": True, "sample_batch": 8}


@pytest.fixture(scope="module", autouse=True)
def eight_images_a_shard():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "SHARD", 8)
        yield


@pytest.fixture(scope="module")
def folders(generator, real, tmp_path_factory):
    """The set as class folders."""
    path = tmp_path_factory.mktemp("folders") / "s"
    synthesize(path, generator, real, **WANTED)
    return path


@pytest.fixture(scope="module")
def sharded(generator, real, tmp_path_factory):
    """The set as shards, made in two shares."""
    path = tmp_path_factory.mktemp("sharded") / "s"
    together(path, generator, real, 2, images_to="shards", **WANTED)
    return path


@pytest.fixture
def url():
    place = f"memory://{uuid.uuid4().hex}/set"
    yield place
    fsspec.filesystem("memory").store.clear()


def same_set(found, expected):
    a, b = read_synthetic(found), read_synthetic(expected)
    assert np.array_equal(a.images, b.images)
    assert np.array_equal(a.labels, b.labels)
    assert a.class_names == b.class_names


def test_shards_hold_exactly_the_images_of_folders_with_their_labels(sharded, folders):
    same_set(sharded, folders)
    assert (sharded / "contact-sheet.png").read_bytes() == (folders / "contact-sheet.png").read_bytes()
    assert not (sharded / "images").exists()
    rows = {row.file: row for row in read_manifest(sharded) if row.file}
    listed = [line.split(",") for line in (sharded / "shards.csv").read_text().split()[1:]]
    assert {f"shards/{p.name}" for p in (sharded / "shards").iterdir()} == {file for file, _, _ in listed}
    seen = set()
    for file, count, _ in listed:
        with tarfile.open(sharded / file) as archive:
            names = archive.getnames()
            content = {name: archive.extractfile(name).read() for name in names}
        assert len(names) == 3 * int(count)
        for name in names[::3]:
            row, key = rows[f"{file}/{name}"], name.removesuffix(".png")
            assert names[names.index(name) :][:3] == [f"{key}.png", f"{key}.cls", f"{key}.json"]
            assert key == f"{class_folder(row.class_)}/{row.index:06d}"
            assert NAMES[int(content[f"{key}.cls"])] == row.class_
            about = {"class": row.class_, "label": NAMES.index(row.class_), "index": row.index, "sha256": row.sha256}
            assert json.loads(content[f"{key}.json"]) == about
            assert content[name] == (folders / f"images/{name}").read_bytes()
            seen.add(f"{file}/{name}")
    assert seen == rows.keys()


def test_whoever_makes_the_parts_shards_have_the_same_bytes(sharded, generator, real, tmp_path):
    synthesize(tmp_path / "s", generator, real, images_to="shards", **{**WANTED, "sample_batch": 5})
    for shard in (sharded / "shards").iterdir():
        assert (tmp_path / "s" / "shards" / shard.name).read_bytes() == shard.read_bytes()
    assert (tmp_path / "s" / "manifest.csv").read_bytes() == (sharded / "manifest.csv").read_bytes()


def test_shards_mix_the_classes_and_are_of_one_size_but_the_last(sharded):
    shards = [line.split(",") for line in (sharded / "shards.csv").read_text().split()[1:]]
    assert [int(images) for _, images, _ in shards] == [8, 8, 8, 7]
    rows = [row for row in read_manifest(sharded) if row.file]
    first = [row.class_ for row in rows if row.file.startswith("shards/000000.tar/")]
    assert set(first) == {"cat", ".."}


def test_webdataset_reads_them(sharded):
    wds = pytest.importorskip("webdataset")
    shards = sorted(str(p) for p in (sharded / "shards").iterdir())
    pairs = list(wds.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "cls", "json"))
    assert np.bincount([label for _, label, _ in pairs]).tolist() == [17, 0, 14]
    rows = {row.sha256 for row in read_manifest(sharded) if row.file}
    assert {about["sha256"] for _, _, about in pairs} == rows
    assert {image.size for image, _, _ in pairs} == {(8, 8)}


def test_a_url_holds_them_and_what_is_there_is_read_back(url, folders, generator, real, tmp_path):
    together(tmp_path / "s", generator, real, 2, images_to=f"{url}/", **WANTED)
    same_set(tmp_path / "s", folders)
    assert {p.name for p in (tmp_path / "s").iterdir()} >= {"manifest.csv", "shards.csv", "contact-sheet.png", "run.json"}
    assert not list((tmp_path / "s").rglob("*.tar"))
    assert all(row.file.startswith(f"{url}/") for row in read_manifest(tmp_path / "s") if row.file)
    with fsspec.open(f"{url}/000001.tar") as file, tarfile.open(fileobj=io.BytesIO(file.read())) as archive:
        assert len(archive.getnames()) % 3 == 0


def test_a_url_of_files_does_too_and_one_that_fills_up_is_written_to_its_end_by_the_same_command(
    folders, generator, real, tmp_path, monkeypatch
):
    url = (tmp_path / "bucket" / "set").as_uri()
    check_url(url, tmp_path / "s")
    write = stores.write_url

    def full(name, content):
        if name.endswith("000002.tar"):
            raise OSError(28, "No space left on device")
        write(name, content)

    with monkeypatch.context() as patch:
        patch.setattr(stores, "write_url", full)
        with pytest.raises(OSError, match="No space left"):
            synthesize(tmp_path / "s", generator, real, images_to=url, **WANTED)
    assert (tmp_path / "bucket/set/000001.tar").exists()
    check_url(url, tmp_path / "s")
    synthesize(tmp_path / "s", generator, real, images_to=url, **WANTED)
    same_set(tmp_path / "s", folders)
    named = {row.file.rsplit("/", 2)[0].rsplit("/", 1)[1] for row in read_manifest(tmp_path / "s") if row.file}
    assert {p.name for p in (tmp_path / "bucket" / "set").iterdir()} == named | {stores.CLAIM}


@pytest.mark.parametrize("damage", ["byte", "missing", "list"])
def test_a_damaged_or_missing_shard_is_refused_by_name(damage, generator, real, tmp_path):
    path = tmp_path / "s"
    synthesize(path, generator, real, images_to="shards", budget={"..": 4})
    tar = path / "shards" / "000000.tar"
    if damage == "byte":
        content = bytearray(tar.read_bytes())
        content[600] ^= 1
        tar.write_bytes(bytes(content))
    elif damage == "missing":
        tar.unlink()
    else:
        (path / "shards.csv").write_text("file,images,sha256\n")
    with pytest.raises(CorruptError, match=r"shards\.csv is damaged" if damage == "list" else r"000000\.tar"):
        read_synthetic(path)


def test_an_image_that_its_shard_lacks_is_named(sharded):
    with pytest.raises(CorruptError, match=r"000000\.tar lacks cat/000999\.png"):
        list(read_images(sharded, ["shards/000000.tar/cat/000999.png"], [""]))


def test_a_missing_shard_at_a_url_is_named(url, generator, real, tmp_path):
    synthesize(tmp_path / "s", generator, real, images_to=url, budget={"..": 4})
    fsspec.filesystem("memory").rm_file(f"{url.removeprefix('memory:/')}/000000.tar")
    with pytest.raises(CorruptError, match=rf"{url}/000000\.tar is missing"):
        read_synthetic(tmp_path / "s")


def test_a_url_of_another_set_or_another_run_is_refused_before_anything_is_made(url, generator, real, tmp_path):
    check_url(url, tmp_path / "a")
    synthesize(tmp_path / "a", generator, real, images_to=url, budget={"..": 4})
    check_url(url, tmp_path / "a")
    with pytest.raises(DataError, match=r"holds 1 shards of another set \(000000.tar, ...\); empty it"):
        check_url(url, tmp_path / "b")
    with pytest.raises(DataError, match=r"belongs to another run .* name another URL"):
        synthesize(tmp_path / "b", generator, real, images_to=url, budget={"..": 4})
    assert not (tmp_path / "b" / "run.json").exists()
    same_set(tmp_path / "a", tmp_path / "a")


@pytest.mark.parametrize(
    ("images_to", "sentence"),
    [
        ("folder", r"'folder' is not folders, shards or a URL"),
        ("nothing://bucket/set", r"nothing://bucket/set cannot be opened .* install the fsspec package"),
    ],
)
def test_a_place_that_is_none_is_an_option_error(images_to, sentence):
    with pytest.raises(OptionError, match=sentence):
        check_store(images_to)


def test_a_url_that_cannot_be_written_is_said_first(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/set cannot be (listed|written) .* check the address"):
        check_url((tmp_path / "file" / "set").as_uri(), tmp_path / "s")
    assert not (tmp_path / "s").exists()
