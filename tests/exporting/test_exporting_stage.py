"""export and merged, of a synthesis that was really made: what they refuse, the card, whole or not there, torch."""

import itertools
import json
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, WeightedRandomSampler

import ltaug
from ltaug.cli import main
from ltaug.data.imageset import pixel_digest
from ltaug.errors import CorruptError, MismatchError, OptionError, RunExistsError
from ltaug.exporting import layouts
from ltaug.generator.generate import Generator, generate
from ltaug.manifest import read_synthetic
from ltaug.methods import LAYOUTS
from ltaug.options import DatasetOptions
from ltaug.records import EvaluationRecord, GeneratorRecord
from ltaug.runtime import make_runtime

KEPT = max(Path(__file__).parents[1].joinpath("kept").glob("*.tar.xz"), key=lambda file: int(file.name.partition(".")[0]))


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """A generator of digits and its synthesis, which has no image of the four largest classes."""
    root = tmp_path_factory.mktemp("kept")
    with tarfile.open(KEPT) as archive:
        archive.extractall(root, filter="data")
    return root / "experiment/seed-0/cbdm"


@pytest.fixture
def copied(arm, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(arm, tmp_path / "arm")


def images_of(arm, *, with_real):
    """Digest of pixels and label of every image that there should be."""
    synthetic = read_synthetic(arm / "synthetic")
    made = GeneratorRecord.read(arm / "generator")
    sets = [ltaug.load_dataset(made.dataset, seed=made.seed).train, synthetic] if with_real else [synthetic]
    return sorted((pixel_digest(image), int(label)) for s in sets for image, label in zip(s.images, s.labels, strict=True))


@pytest.mark.parametrize("with_real", [False, True])
def test_an_export_has_every_image_once_and_all_classes(arm, tmp_path, with_real):
    from torchvision.datasets import ImageFolder

    out = tmp_path / "deep" / "out"
    said = ltaug.export(arm / "synthetic", to="imagefolder", out=out, with_real=with_real)
    found = ImageFolder(out / "train", allow_empty=True)
    expected = images_of(arm, with_real=with_real)
    assert found.classes == [str(k) for k in range(10)]
    assert sorted((pixel_digest(np.asarray(image.convert("L"))[None]), label) for image, label in found) == expected
    assert (said["real"] + said["synthetic"], said["real"] > 0) == (len(expected), with_real)
    assert sum(said["per_class"].values()) == len(expected)


def test_exported_shards_are_a_dataset_with_the_same_images_classes_and_labels(arm, tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    ltaug.export(arm / "synthetic", to="webdataset", out=tmp_path / "out", with_real=True)
    options = DatasetOptions(dataset=f"shards:{tmp_path / 'out'}", test_per_class=1)
    data = ltaug.load_dataset(options, seed=0)
    pairs = [pair for s in (data.train, data.test) for pair in zip(s.images, s.labels.tolist(), strict=True)]
    assert sorted((pixel_digest(image), label) for image, label in pairs) == images_of(arm, with_real=True)
    assert data.train.class_names == GeneratorRecord.read(arm / "generator").class_names


def test_the_card_says_what_a_reader_of_the_images_should_know(arm, tmp_path):
    import yaml

    ltaug.export(arm / "synthetic", to="parquet", out=tmp_path / "out", with_real=True)
    _, front, text = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    (part,) = config["data_files"]
    assert part["split"] == "train"
    assert list((tmp_path / "out").glob(part["path"]))
    made = GeneratorRecord.read(arm / "generator")
    for said in (made.train_digest, "64 real", "23 synthetic", "27.2133 grey levels", "## Licence", "## To withdraw an image"):
        assert said in text


@pytest.mark.parametrize("to", LAYOUTS)
def test_the_card_of_every_layout_says_how_an_image_is_withdrawn(arm, tmp_path, to):
    ltaug.export(arm / "synthetic", to=to, out=tmp_path / "out")
    assert "Here, " in (tmp_path / "out/README.md").read_text()


def test_the_lines_in_the_card_of_exported_weights_load_them_and_make_the_generators_images(arm, tmp_path, monkeypatch):
    said = ltaug.export_generator(arm / "generator", to="safetensors", out=tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    made: dict = {}
    exec(Path("README.md").read_text().split("```python")[1].split("```")[0].replace("range(8)", "range(2)"), made)
    runtime = make_runtime("cpu")
    own = Generator.load(arm / "generator", runtime=runtime)
    keys = [(k, i) for k in range(10) for i in range(2)]
    expected = generate(own.denoiser, keys, image_shape=own.image_shape, seed=0, runtime=runtime)
    assert np.array_equal(made["images"], expected)
    assert (said["to"], said["classes"]) == ("safetensors", list(own.class_names))


def test_the_card_of_a_generator_says_data_options_licence_and_what_an_evaluation_beside_it_measured(copied, tmp_path):
    def card(name):
        ltaug.export_generator(copied / "generator", to="safetensors", out=tmp_path / name)
        return " ".join((tmp_path / name / "README.md").read_text().split())

    summary = EvaluationRecord.read(copied / "evaluation").metrics()["summary"]
    made, found = GeneratorRecord.read(copied / "generator"), card("evaluated")
    for said in (made.train_digest, "64 real images of digits", "in 20 steps of cbdm", "--imbalance 20.0", "9: 9, 1"):
        assert said in found
    assert f"Of its images {summary['memorised_1']:.1%} are nearer" in found
    shutil.rmtree(copied / "evaluation")
    assert "## Memorisation Not measured. ##" in card("not-evaluated")


def test_a_generator_is_not_exported_as_what_it_is_not(arm, tmp_path):
    with pytest.raises(MismatchError, match="give --to safetensors"):
        ltaug.export_generator(arm / "generator", out=tmp_path / "out")
    with pytest.raises(OptionError, match="did you mean 'safetensors'"):
        ltaug.export_generator(arm / "generator", to="safetensor", out=tmp_path / "out")
    with pytest.raises(MismatchError, match="fit-generator"):
        ltaug.export_generator(arm / "synthetic", to="safetensors", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_fails_leaves_nothing(arm, tmp_path, monkeypatch):
    def fail(image):
        if next(turns) == 5:
            raise OSError(5, "Input/output error")
        return b""

    turns = itertools.count()
    monkeypatch.setattr(layouts, "encoded", fail)
    with pytest.raises(OSError, match="Input/output"):
        ltaug.export(arm / "synthetic", to="imagefolder", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_removed(arm, tmp_path):
    (tmp_path / ".out.abc.half").mkdir()
    ltaug.export(arm / "synthetic", to="webdataset", out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_that_exists_is_refused(arm, tmp_path):
    with pytest.raises(RunExistsError, match="name another directory"):
        ltaug.export(arm / "synthetic", to="imagefolder", out=tmp_path)


def test_a_misspelt_layout_is_refused(arm, tmp_path):
    with pytest.raises(OptionError, match="did you mean 'parquet'"):
        ltaug.export(arm / "synthetic", to="parkett", out=tmp_path / "out")


def test_another_stages_run_is_refused(arm, tmp_path):
    with pytest.raises(MismatchError, match="synthesize"):
        ltaug.export(arm / "generator", to="imagefolder", out=tmp_path / "out")


@pytest.mark.parametrize(("package", "to", "extra"), [("datasets", "hf", "hf"), ("pyarrow", "parquet", "parquet")])
def test_without_the_extra_a_sentence_says_how_to_install_it(arm, tmp_path, monkeypatch, package, to, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=rf"needs {package}, which is not installed; pip install 'ltaug\[{extra}\]'"):
        ltaug.export(arm / "synthetic", to=to, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_image_is_not_exported(copied, tmp_path):
    image = next((copied / "synthetic/images").rglob("*.png"))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    with pytest.raises(CorruptError, match=image.name):
        ltaug.export(copied / "synthetic", to="imagefolder", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_synthesis_without_its_generator_is_refused(copied):
    shutil.rmtree(copied / "generator")
    with pytest.raises(MismatchError, match="put it back there"):
        ltaug.merged(copied / "synthetic")


def test_the_command_says_how_many_images_there_are(arm, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", str(arm / "generator"), "--to", "safetensors", "--out", str(tmp_path / "weights")])
    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith("weights has a generator of 10 classes for safetensors.\n")
    for words in (["-q", "--json"], ["-q"]):
        out = str(tmp_path / str(len(words)))
        with pytest.raises(SystemExit) as ended:
            main(["export", str(arm / "synthetic"), "--to", "imagefolder", "--out", out, *words])
        assert ended.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first)["synthetic"] == 23
    assert second.endswith("has 0 real and 23 synthetic images of 10 classes.")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_over_the_merged_set_gives_each_image_once(arm, workers):
    merged = ltaug.merged(arm / "synthetic")
    loader = DataLoader(merged, batch_size=8, shuffle=True, num_workers=workers)
    pairs = [pair for images, labels in loader for pair in zip(images, labels.tolist(), strict=True)]
    as_bytes = [((image * 255).round().to(torch.uint8).numpy(), label) for image, label in pairs]
    assert sorted((pixel_digest(image), label) for image, label in as_bytes) == images_of(arm, with_real=True)


def test_a_merged_set_tells_classes_targets_sources_and_weights(arm):
    merged = ltaug.merged(arm / "synthetic", transform=lambda picture: picture.size)
    assert merged.classes == [str(k) for k in range(10)]
    assert merged.sources == ["real"] * 64 + ["synthetic"] * 23
    assert merged.targets == [label for _, label in merged]
    assert {size for size, _ in merged} == {(8, 8)}
    assert np.bincount(merged.targets, merged.weights) == pytest.approx(np.ones(10))
    assert merged[-1] == merged[len(merged) - 1]
    drawn = list(WeightedRandomSampler(merged.weights, 4000, generator=torch.Generator().manual_seed(0)))
    assert np.bincount(np.array(merged.targets)[drawn]) == pytest.approx(np.full(10, 400), rel=0.2)


def test_real_images_that_changed_are_refused(arm, monkeypatch):
    from ltaug.stages import merging

    load = merging.load_data

    def fewer(*asked, **more):
        data = load(*asked, **more)
        return type(data)(data.train.take(np.arange(5)), data.test, data.rest, data.notes, data.source_notes)

    monkeypatch.setattr(merging, "load_data", fewer)
    with pytest.raises(MismatchError, match="have changed"):
        ltaug.merged(arm / "synthetic")
