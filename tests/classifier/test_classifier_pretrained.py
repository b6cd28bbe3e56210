"""Classifiers that start from published weights: networks of timm's, saved by the tests themselves."""

import os
import pickle
import signal
import warnings

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from ltaug.classifier.batches import to_input
from ltaug.classifier.judge import Judge
from ltaug.classifier.models import build_model
from ltaug.classifier.pretrained import Normalised, find_pretrained
from ltaug.errors import CorruptError, DataError, MismatchError, OptionError
from ltaug.fields import checked, resolve
from ltaug.files import file_digest
from ltaug.options import ClassifierOptions
from ltaug.outside import Outside
from ltaug.records import ClassifierRecord
from ltaug.runs import ignore_events, read_run
from ltaug.runtime import make_runtime
from ltaug.stages import check_stages, train_classifier, write_report

CPU = make_runtime("cpu")
NAMES = {"test_resnet": "fc.", "test_vit": "head.", "test_convnext": "head.fc."}
TAG = "r160_in1k"


def publish(folder, name, *, file="model.safetensors", seed=1):
    """A file of the weights that timm's network has with random ones; its path and these."""
    torch.manual_seed(seed)
    weights = timm.create_model(name, pretrained=False).state_dict()
    folder.mkdir(exist_ok=True)
    save = save_file if file.endswith(".safetensors") else torch.save
    save(weights, folder / file)
    return folder / file, weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"), "test_resnet")[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A data set of coloured noise."""
    path = tmp_path_factory.mktemp("photos") / "photos.npz"
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (20, 12, 6))
    images = rng.integers(0, 256, (38, 32, 32, 3), dtype=np.uint8)
    tests = {"test_images": rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), "test_labels": np.repeat(np.arange(3), 3)}
    np.savez(path, images=images, labels=labels, **tests)
    return {"dataset": str(path)}


def train(dataset, out, pretrained, *, model=f"test_resnet.{TAG}", listener=ignore_events, **given):
    given = {"model": model, "pretrained": str(pretrained), "steps": 4, "batch_size": 8, "augment": "none"} | given
    return train_classifier(dataset, given, out=out, listener=listener)


@pytest.mark.parametrize("file", ["model.safetensors", "weights.pth"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_starts_with_the_files_weights_but_for_its_last_layer(tmp_path, name, file):
    path, weights = publish(tmp_path, name, file=file)
    network = build_model(name, num_classes=5, image_shape=(3, 160, 160), weights=path)
    for key, value in network.state_dict().items():
        if key.startswith(NAMES[name]):
            assert value.shape[0] == 5
        else:
            assert torch.equal(value, weights[key]), key
    assert "state_dict" not in network.pretrained_cfg


def test_a_network_of_as_many_classes_as_the_files_gets_a_last_layer_of_its_own(published):
    torch.manual_seed(0)
    fresh = build_model("test_resnet", num_classes=1000, image_shape=(3, 32, 32))
    torch.manual_seed(0)
    assert torch.equal(
        build_model("test_resnet", num_classes=1000, image_shape=(3, 32, 32), weights=published).fc.weight, fresh.fc.weight
    )


def test_the_first_layer_and_the_position_embedding_fit_images_of_another_size_and_one_channel(tmp_path):
    path, weights = publish(tmp_path, "test_vit")
    network = build_model("test_vit", num_classes=2, image_shape=(1, 64, 64), weights=path)
    torch.testing.assert_close(network.patch_embed.proj.weight, weights["patch_embed.proj.weight"].sum(1, keepdim=True))
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_gives_the_logits_that_it_gives_after_timms_own_preprocessing(tmp_path, name):
    path, _ = publish(tmp_path, name)
    found = find_pretrained(str(path), model=f"{name}.{TAG}", download=False, tell=pytest.fail)
    shape, statistics = (3, 160, 160), {"mean": [0.1, 0.5, 0.8], "std": [0.2, 0.3, 0.4]}
    for used in (found.statistics, statistics):
        network = build_model(name, num_classes=4, image_shape=shape, weights=path, statistics=used).eval()
        preprocess = timm.data.create_transform(shape, crop_pct=1.0, **used)
        image = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
        theirs = network.network(preprocess(Image.fromarray(image))[None])
        ours = to_input(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])
        torch.testing.assert_close(network(ours), theirs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network.forward_head(network.forward_features(ours)), theirs, rtol=1e-5, atol=1e-5)


def test_images_of_one_channel_are_normalised_by_the_mean_of_the_statistics():
    statistics = {"mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.3]}
    network = Normalised(torch.nn.Identity(), statistics, channels=1)
    torch.testing.assert_close(network(torch.tensor([[[[-1.0, 1.0]]]])), torch.tensor([[[[-2.0, 3.0]]]]))


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "ldam"},
        {"optimizer": "adamw", "layer_decay": 0.5},
        {"optimizer": "adamw", "refit": "head"},
        {"refit": "last", "refit_share": 0.5, "tau_norm": 0.5},
        {"average": "ema"},
    ],
)
def test_a_fit_that_is_interrupted_goes_on_bit_for_bit_and_loads_with_the_same_weights(published, photos, tmp_path, given):
    def stop(event):
        if event.step == 3 and event.text == "training the classifier":
            os.kill(os.getpid(), signal.SIGTERM)

    given = {"steps": 6, "average": "swa"} | given
    with pytest.raises(KeyboardInterrupt):
        train(photos, tmp_path / "clf", published, listener=stop, **given)
    assert [path.name for path in (tmp_path / "clf" / "checkpoints").iterdir()] == ["step-4"]
    paths = [train(photos, tmp_path / out, published, **given) for out in ("clf", "whole")]
    first, whole = (ClassifierRecord.read(path, finished=True).outputs for path in paths)
    assert first["weights.safetensors"] == whole["weights.safetensors"]
    with np.load(paths[0] / "predictions.npz") as saved, np.load(photos["dataset"]) as data:
        images = np.ascontiguousarray(data["test_images"].transpose(0, 3, 1, 2))
        assert np.array_equal(Judge.load(paths[0], runtime=CPU).probabilities(images), saved["probabilities"])


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "resnet10t"])
def test_the_weights_of_another_network_are_refused_in_a_sentence(published, name):
    with pytest.raises(OptionError, match=rf"model\.safetensors does not hold the weights of --model {name} \(.*; give the file"):
        build_model(name, num_classes=2, image_shape=(3, 160, 160), weights=published)


@pytest.mark.parametrize(
    ("change", "said"), [(lambda held: held.pop("bn1.bias"), "Missing"), (lambda held: held.update(x=held["bn1.bias"]), "Unexp")]
)
def test_weights_that_are_not_exactly_the_networks_are_refused(tmp_path, change, said):
    path, weights = publish(tmp_path, "test_resnet", file="weights.pth")
    change(weights)
    torch.save(weights, path)
    with pytest.raises(OptionError, match=rf"--model test_resnet \({said}"):
        build_model("test_resnet", num_classes=2, image_shape=(3, 32, 32), weights=path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", ["torn", "pickle", "number", "nothing"])
def test_a_file_that_is_not_weights_and_nothing_else_is_refused_and_not_executed(tmp_path, content, capsys):
    class Loud:
        def __reduce__(self):
            return print, ("executed",)

    path = tmp_path / "weights.pth"
    if content == "torn":
        path.write_bytes(publish(tmp_path, "test_resnet", file="whole.pth")[0].read_bytes()[:5000])
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Loud()))
    else:
        torch.save({"epochs": 3} if content == "number" else {}, path)
    with pytest.raises(CorruptError, match=r"weights\.pth .*; give"):
        build_model("test_resnet", num_classes=2, image_shape=(3, 32, 32), weights=path)
    assert capsys.readouterr().out == ""


FINETUNED = {"preset": "finetune", "model": "test_resnet", "pretrained": "hub"}


def test_a_preset_sets_defaults_and_an_option_that_is_given_goes_before_it():
    found = resolve(ClassifierOptions, FINETUNED, image_side=224)
    assert (found.optimizer, found.lr, found.weight_decay, found.layer_decay) == ("adamw", 1e-3, 0.05, 0.75)
    assert (found.schedule, found.warmup, found.epochs, found.batch_size) == ("cosine", 0.1, 100, 32)
    assert (found.augment, found.label_smoothing, found.drop_path) == ("resized-crop+flip", 0.1, 0.1)
    assert resolve(ClassifierOptions, FINETUNED, image_side=8).augment == "resized-crop+flip"
    own = {"optimizer": "sgd", "augment": "shift", "drop_path": 0.0}
    found = resolve(ClassifierOptions, FINETUNED | own, image_side=224)
    assert (found.optimizer, found.lr, found.weight_decay, found.layer_decay) == ("sgd", 1e-3, 2e-4, 0.75)
    assert (found.augment, found.drop_path, found.label_smoothing) == ("shift", 0, 0.1)


def test_what_a_presets_choice_reads_may_be_given_beside_it_and_what_it_does_not_read_is_refused():
    assert checked(ClassifierOptions, FINETUNED | {"crop_scale": 0.3}, where="train-classifier")["crop_scale"] == 0.3
    for option, reader in (("momentum", "--optimizer sgd"), ("mixup_alpha", r"--augment resized-crop\+flip\+mixup")):
        with pytest.raises(OptionError, match=f"0.5 is read only with {reader}"):
            checked(ClassifierOptions, FINETUNED | {option: 0.5}, where="train-classifier")


def test_a_finetuned_run_records_every_value_and_drops_paths_in_training_alone(published, photos, tmp_path):
    paths = [train(photos, tmp_path / out, published, preset="finetune", drop_path=0.5, augment="resized-crop") for out in "ab"]
    recorded = read_run(paths[0])["options"]["train-classifier"]
    assert (recorded["preset"], recorded["optimizer"], recorded["lr"]) == ("finetune", "adamw", 1e-3)
    first, again = (ClassifierRecord.read(path, finished=True).outputs["weights.safetensors"] for path in paths)
    other = train(photos, tmp_path / "c", published, preset="finetune", drop_path=0.0, augment="resized-crop")
    assert first == again != ClassifierRecord.read(other, finished=True).outputs["weights.safetensors"]
    assert not any(isinstance(m, timm.layers.DropPath) for m in Judge.load(paths[0], runtime=CPU).model.modules())


def test_drop_path_is_refused_where_the_network_has_none():
    with pytest.raises(OptionError, match=r"--drop-path 0\.1: --model densenet121 has none; use --drop-path 0"):
        build_model("densenet121", num_classes=2, image_shape=(3, 32, 32), drop_path=0.1)
    network = build_model("test_resnet", num_classes=2, image_shape=(3, 32, 32), drop_path=0.3)
    assert max(m.drop_prob for m in network.modules() if isinstance(m, timm.layers.DropPath)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"model": f"test_resnet.{TAG}"}, OptionError, "names published weights.* use --pretrained, or --model test_resnet$"),
        ({"preset": "finetune"}, OptionError, "--preset finetune is for published weights; give some with --pretrained"),
        ({"drop_path": 0.1}, OptionError, "--drop-path 0.1 does not go with --model resnet32, which is not timm's"),
        ({"pretrained": "hub"}, OptionError, "--pretrained hub does not go with --model resnet32"),
        ({"model": "test_resnet", "pretrained": "nowhere.pth"}, DataError, "there is no file nowhere.pth"),
        ({"model": "test_resnet", "pretrained": "weights.pkl"}, OptionError, "weights.pkl does not end in .safetensors, .pth"),
    ],
)
def test_weights_that_nobody_can_load_are_refused_before_anything_is_computed(given, error, said):
    with pytest.raises(error, match=said):
        checked(ClassifierOptions, given, where="train-classifier")


def test_a_finished_run_says_where_its_weights_came_from_and_is_one_of_these_weights(published, photos, tmp_path):
    path = train(photos, tmp_path / "clf", published.parent)
    record = ClassifierRecord.read(path, finished=True)
    files = {"model.safetensors": file_digest(published)}
    known = {"licence": "apache-2.0", "trained_on": "ImageNet-1k"}
    assert record.outside == (Outside(role="classifier", name=f"test_resnet.{TAG}", files=files, **known),)
    assert read_run(path)["inputs"]["pretrained"]["digest"] == file_digest(published)
    kept = published.read_bytes()
    publish(published.parent, "test_resnet", seed=2)
    try:
        with pytest.raises(MismatchError, match=r"pretrained\.digest"):
            train(photos, tmp_path / "clf", published.parent)
    finally:
        published.write_bytes(kept)


def test_a_file_whose_model_is_named_without_a_tag_is_given_no_licence(published):
    found = find_pretrained(str(published), model="test_resnet", download=False, tell=pytest.fail)
    assert (found.outside.name, found.outside.licence, found.outside.trained_on) == ("test_resnet", None, None)


def test_the_report_says_that_there_is_outside_data(published, photos, tmp_path):
    train(photos, tmp_path / "runs" / "clf", published)
    write_report([tmp_path / "runs"], out=tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()
    assert f"Outside data: test_resnet.{TAG} (trained on ImageNet-1k, licence: apache-2.0), as classifier of real." in page


def test_the_hub_is_asked_only_with_download_and_not_for_what_is_there(tmp_path, monkeypatch, photos):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def hub(repository, name, local_files_only=False):
        asked.append(local_files_only)
        if not local_files_only:
            raise OSError("no connection\n")
        return real(repository, name, local_files_only=True)

    real = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    given = {"model": "test_resnet", "pretrained": "hub"}
    with pytest.raises(DataError, match=rf"timm/test_resnet\.{TAG} \(licence: apache-2\.0\).* pass --download"):
        check_stages([("train-classifier", photos, given, None)], seed=0)
    with pytest.raises(DataError, match="pass --download"):
        train(photos, tmp_path / "clf", "hub")
    assert asked == [True, True]
    told = []
    with pytest.raises(DataError, match="could not be downloaded \\(no connection\\); fetch it elsewhere"):
        find_pretrained("hub", model="test_resnet", download=True, tell=told.append)
    assert told == [f"Downloading model.safetensors of https://huggingface.co/timm/test_resnet.{TAG} (licence: apache-2.0)."]

    repository = tmp_path / "hub" / f"models--timm--test_resnet.{TAG}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "snapshots").mkdir()
    publish(repository / "snapshots" / "0123abc", "test_resnet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_stages([("train-classifier", photos, given, None)], seed=0)
    record = ClassifierRecord.read(train(photos, tmp_path / "clf", "hub"), finished=True)
    (outside,) = record.outside
    assert (outside.repository, outside.revision) == (f"timm/test_resnet.{TAG}", "0123abc")
