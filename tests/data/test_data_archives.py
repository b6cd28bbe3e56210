"""shards:DIR and shards:URL: shards as others write them, their splits and classes, the index and what is refused."""

import json
import uuid

import fsspec
import numpy as np
import pytest
from test_data_given import encoded, tar

from ltaug.cli import main
from ltaug.data import archives
from ltaug.data.load import load_dataset
from ltaug.errors import DataError, OptionError
from ltaug.options import DatasetOptions


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))


def sample(value, label, extension="png"):
    image = np.full((1, 4, 4), value, np.uint8)
    return {f"{value}.{extension}": encoded(image, "PNG" if extension == "png" else "JPEG"), f"{value}.cls": str(label).encode()}


def shard(path, pairs, **more):
    return tar(path, {name: content for pair in pairs for name, content in sample(*pair, **more).items()})


def load(place, **options):
    return load_dataset(DatasetOptions(dataset=f"shards:{place}", **options), seed=0)


def values(*sets):
    """Grey level and class of every image."""
    return sorted((int(image[0, 0, 0]), s.class_names[k]) for s in sets for image, k in zip(s.images, s.labels, strict=True))


@pytest.mark.parametrize("names", [("train-0.tar", "a-train-1.tar", "a-val-0.tar"), ("train/0.tar", "train/1.tar", "test/0.tar")])
def test_shards_are_of_the_split_that_their_names_say(tmp_path, names):
    pairs = [[(10, 0), (20, 1)], [(30, 10)], [(40, 10), (50, 0)]]
    for name, of in zip(names, pairs, strict=True):
        shard(tmp_path / "set" / name, of)
    shard(tmp_path / "set/more.tar", [(60, 0)])
    shard(tmp_path / "set/._train-9.tar", [(70, 0)])
    dataset = load(tmp_path / "set")
    assert dataset.train.class_names == ("0", "1", "10")
    assert values(dataset.train) == [(10, "0"), (20, "1"), (30, "10")]
    assert values(dataset.test) == [(40, "10"), (50, "0")]
    assert "splits not used: more.tar" in dataset.notes


def test_shards_of_no_split_are_one_set_from_which_test_images_are_held_out(tmp_path):
    for n in range(2):
        shard(tmp_path / f"set/{n:03d}.tar", [(100 * n + i, "ant" if i % 2 else "bee") for i in range(10)])
    dataset = load(tmp_path / "set")
    expected = sorted((100 * n + i, "ant" if i % 2 else "bee") for n in range(2) for i in range(10))
    assert values(dataset.train, dataset.test) == expected
    assert len(dataset.test) == 4


def test_what_webdataset_writes_is_read(tmp_path):
    wds = pytest.importorskip("webdataset")
    expected = {}
    with wds.TarWriter(str(tmp_path / "train-0.tar")) as sink:
        for i in range(6):
            image = np.random.default_rng(i).integers(0, 256, (5, 7, 3)).astype(np.uint8)
            sink.write({"__key__": f"a/{i:06d}", "png": image, "cls": i % 3, "json": {"width": 7}})
            expected[image.tobytes()] = i % 3
    dataset = load(tmp_path / "train-0.tar", test_per_class=1)
    pairs = [pair for s in (dataset.train, dataset.test) for pair in zip(s.images, s.labels.tolist(), strict=True)]
    assert {image.transpose(1, 2, 0).tobytes(): label for image, label in pairs} == expected


def test_a_url_is_read_by_ranges_and_its_index_only_once(tmp_path, monkeypatch):
    url = f"memory://{uuid.uuid4().hex}/set"
    local = [shard(tmp_path / f"train-{n}.tar", [(10 * n + i, i % 2) for i in range(6)], extension="JPG") for n in range(2)]
    files = fsspec.filesystem("memory")
    for path in local:
        files.pipe_file(f"{url.removeprefix('memory:/')}/{path.name}", path.read_bytes())
    first = load(url)
    assert len(first.train) + len(first.test) == 12
    monkeypatch.setattr(archives, "open_url", None)
    monkeypatch.setattr(archives, "read_url", None)
    for place in (url, url + "/"):
        again = load(place)
        assert (again.train.digest, again.test.digest) == (first.train.digest, first.test.digest)
    assert files.exists(url.removeprefix("memory:/"))
    files.store.clear()


def test_numbered_names_are_these_shards_alone(tmp_path):
    for n in range(9, 13):
        shard(tmp_path / f"s-{n:02d}.tar", [(10 * n + i, i % 2) for i in range(4)])
    dataset = load(tmp_path / "s-{09..11}.tar")
    assert [value for value, _ in values(dataset.train, dataset.test)] == [10 * n + i for n in range(9, 12) for i in range(4)]
    with pytest.raises(DataError, match=r"s-13.tar|cannot be listed"):
        load(tmp_path / "s-{12..13}.tar")


def test_a_shard_that_changed_is_read_again(tmp_path):
    shard(tmp_path / "set/0.tar", [(i, i % 2) for i in range(6)])
    load(tmp_path / "set")
    shard(tmp_path / "set/0.tar", [(100 + i, i % 2) for i in range(6)])
    dataset = load(tmp_path / "set")
    assert [value for value, _ in values(dataset.train, dataset.test)] == list(range(100, 106))


def test_an_exports_own_list_names_the_classes(tmp_path):
    place = tmp_path / "set"
    shard(place / "train-0.tar", [(10, 0), (20, 1), (30, 0), (40, 1)])
    (place / "export.json").write_text(json.dumps({"per_class": {"zebra": 2, "ant": 2}}))
    dataset = load(place)
    assert dataset.train.class_names == ("zebra", "ant")
    assert values(dataset.train, dataset.test) == [(10, "zebra"), (20, "ant"), (30, "zebra"), (40, "ant")]
    shard(place / "train-1.tar", [(50, 2)])
    with pytest.raises(DataError, match=r"train-1.tar/50.png: .cls is '2', no place among its 2 names"):
        load(place)
    (place / "export.json").write_text("{}")
    with pytest.raises(DataError, match=r"lists no classes .*put it back"):
        load(place)


PNG = sample(1, 0)["1.png"]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"1.png": PNG}, r"0.tar: no .cls for 1;"),
        ({"1.cls": b"0"}, r"0.tar: no image for 1;"),
        ({"1.png": PNG, "1.cls": b" "}, r"0.tar/1.png: .cls is '', neither text nor a whole number"),
        ({"1.png": PNG[:40], "1.cls": b"0"}, r"1 image cannot be read: 0.tar/1.png"),
        ({}, r"lists no training image"),
    ],
)
def test_shards_that_cannot_be_used_are_refused_by_name(tmp_path, members, said):
    tar(tmp_path / "set/0.tar", members)
    with pytest.raises(DataError, match=said):
        load(tmp_path / "set")


def test_a_place_without_readable_shards_is_one_sentence(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", "memory://nowhere"):
        with pytest.raises(DataError, match=r"^shards:[^\n]* holds no .tar; give a folder"):
            load(place)
    with pytest.raises(OptionError, match="install the fsspec package"):
        load("nothing://set")
    (tmp_path / "cut.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(DataError, match=r"cut.tar is not a readable tar \([^\n]*\); make it again"):
        load(tmp_path / "cut.tar")


def test_the_command_inspects_shards_and_clean_names_their_index(tmp_path, capsys):
    shard(tmp_path / "set/0.tar", [(i, i % 2) for i in range(6)])
    for command in (["inspect", f"shards:{tmp_path / 'set'}", "--json"], ["clean", str(tmp_path / "cache")]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert '"classes": ["0", "1"]' in printed
    assert "cached index of shards" in " ".join(printed.split())
