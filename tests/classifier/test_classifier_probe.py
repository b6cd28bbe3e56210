"""Probes: a last layer on features that are computed once, against the same layer on features of every step."""

import os
import signal

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import make_pool
from ltaug.classifier.fit import batches_of, fit_classifier
from ltaug.classifier.judge import Judge, load_weights
from ltaug.classifier.models import penultimate
from ltaug.classifier.phases import build_for, phases_of
from ltaug.classifier.pretrained import find_pretrained
from ltaug.classifier.schedules import learning_rates
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.fields import checked, resolve
from ltaug.machine import Machine
from ltaug.options import ClassifierOptions
from ltaug.records import ClassifierRecord
from ltaug.runs import ignore_events
from ltaug.runtime import derive_seed, make_runtime
from ltaug.stages import estimate, train_classifier, train_extractor

CPU = make_runtime("cpu")
LEARNERS = [
    {"loss": "logit-adjusted", "augment": "flip", "sampling": "balanced", "average": "ema"},
    {"loss": "ldam", "reweight_from": 0.5, "label_smoothing": 0.1},
    {"loss": "proco", "augment": "flip", "refit": "head", "refit_share": 0.5, "refit_fusion": 0.25, "average": "swa"},
    {"sam_rho": 0.05, "optimizer": "sgd", "tau_norm": 0.5, "synthetic_weight": 0.5},
]


def tinted(counts, *, seed=0, side=32):
    """Noise whose class is the colour channel that is brighter."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(seed).integers(0, 150, (len(labels), 3, side, side), dtype=np.uint8)
    images[np.arange(len(labels)), labels] += 100
    return ImageSet(images, labels, ("red", "green", "blue"), "tinted")


TRAIN, MADE, TEST = tinted([30, 10, 4]), tinted([0, 12, 20], seed=1), tinted([20, 20, 20], seed=2)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The file of a network whose batch norms have statistics that are not those of new ones."""
    torch.manual_seed(1)
    network = timm.create_model("test_resnet", pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.05, 0.2)
    path = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photos.npz"
    parts = {"images": TRAIN.images, "test_images": TEST.images}
    arrays = {name: images.transpose(0, 2, 3, 1) for name, images in parts.items()}
    np.savez(path, **arrays, labels=TRAIN.labels, test_labels=TEST.labels)
    return {"dataset": str(path)}


def options_for(published, **given):
    told = {"preset": "probe", "model": "test_resnet", "pretrained": str(published), "steps": 12, "batch_size": 16}
    return resolve(ClassifierOptions, told | given, image_side=32)


def weights_of(options):
    return find_pretrained(options.pretrained, model=options.model, download=False, tell=pytest.fail)


def probe(published, *, synthetic=MADE, seed=0, **given):
    options = options_for(published, **given)
    found = weights_of(options)
    told = {"tell": lambda text: None, "runtime": CPU}
    return fit_classifier(TRAIN, options, synthetic=synthetic, pretrained=found, seed=seed, **told)[0]


def head_of(network):
    return network.get_classifier().state_dict()


class PerStep(nn.Module):
    """A network of which the last layer alone is trained, and which computes the features of each batch."""

    def __init__(self, network):
        super().__init__()
        self.__dict__["body"] = network.eval()
        self.head = network.get_classifier()

    def forward_features(self, x):
        with torch.no_grad():
            return penultimate(self.__dict__["body"], x)

    def forward_head(self, features, pre_logits=False):
        return features if pre_logits else self.head(features)

    def get_classifier(self):
        return self.head

    def forward(self, x):
        return self.head(self.forward_features(x))


@pytest.mark.parametrize("given", LEARNERS)
def test_a_probe_is_the_last_layer_trained_on_the_features_of_every_step(published, monkeypatch, given):
    found = probe(published, **given)
    monkeypatch.setattr("ltaug.classifier.fit.feature_pool", lambda pool, network, **told: pool)
    monkeypatch.setattr("ltaug.classifier.fit.Probe", PerStep)
    expected = head_of(probe(published, **given))
    untrained = head_of(probe(published, **given, steps=1, lr=0.0))
    for name, value in head_of(found).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(expected[next(iter(expected))], untrained[next(iter(expected))], atol=1e-3)


def test_a_probe_of_plain_options_is_adamws_steps_on_a_linear_layer(published):
    options = options_for(published, augment="flip", steps=5)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(0, "classifier", "init"))
        network = build_for(options, TRAIN, weights_of(options)).eval()
    head = network.get_classifier()
    optimizer = torch.optim.AdamW(
        [{"params": [head.bias], "weight_decay": 0.0}, {"params": [head.weight], "weight_decay": 0.05}], lr=5e-3
    )
    (phase,), pool = phases_of(TRAIN, None, options, seed=0), make_pool(TRAIN, None, device=CPU.device)
    batches = batches_of(phase.plan, pool, build_augmentation(options), 0, 5)
    for batch, rate in zip(batches, learning_rates(5, lr=5e-3, schedule="cosine", warmup=0.025), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with torch.no_grad():
            features = penultimate(network, batch.images)
        nn.functional.cross_entropy(head(features), batch.labels).backward()
        optimizer.step()
    found = head_of(probe(published, synthetic=None, augment="flip", steps=5))
    for name, value in head.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("given", LEARNERS)
def test_the_body_keeps_the_published_weights_and_a_second_fit_is_the_same_bit_for_bit(published, given):
    options = options_for(published, **given)
    before = build_for(options, TRAIN, weights_of(options)).state_dict()
    first, again, other = (probe(published, seed=seed, **given).state_dict() for seed in (0, 0, 1))
    last = {name for name in before if ".fc." in name}
    assert all(torch.equal(first[name], before[name]) for name in before.keys() - last)
    assert all(torch.equal(first[name], again[name]) for name in before)
    assert not any(torch.equal(first[name], other[name]) for name in last if name.endswith("fc.weight"))


def test_the_body_sees_every_image_once_and_its_mirror_image_only_where_images_are_mirrored(published, monkeypatch):
    seen = []

    def counted(network, x):
        seen.append(len(x))
        return penultimate(network, x)

    monkeypatch.setattr("ltaug.classifier.probe.penultimate", counted)
    probe(published, steps=50)
    assert sum(seen) == len(TRAIN) + len(MADE)
    seen.clear()
    probe(published, steps=50, augment="flip")
    assert sum(seen) == 2 * (len(TRAIN) + len(MADE))


def test_a_dry_run_computes_the_features_of_a_batch_and_says_that_those_of_all_are_not_counted(published, photos, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ltaug.classifier.probe.penultimate", lambda network, x: (seen.append(len(x)), penultimate(network, x))[1]
    )
    given = {"preset": "probe", "model": "test_resnet", "pretrained": str(published), "batch_size": 8}
    found = estimate("train-classifier", photos, given, machine=Machine(device="cpu"))
    assert sum(seen) == 8
    assert found["uncounted"] == "The features of 44 images are computed first."


def test_a_probe_learns_and_its_run_is_an_ordinary_classifiers(published, photos, tmp_path):
    given = {"preset": "probe", "model": "test_resnet", "pretrained": str(published), "steps": 300}
    path = train_classifier(photos, given, out=tmp_path / "clf")
    record = ClassifierRecord.read(path, finished=True)
    assert (record.options.freeze, record.options.optimizer, record.options.augment) == ("body", "adamw", "none")
    with np.load(path / "predictions.npz") as saved:
        assert (saved["probabilities"].argmax(1) == saved["labels"]).mean() > 0.8
        judge = Judge.load(path, runtime=CPU)
        assert np.array_equal(judge.probabilities(TEST.images), saved["probabilities"])
    network, names, shape = load_weights(path / "weights.safetensors")
    assert (names, shape) == (("0", "1", "2"), (3, 32, 32))
    assert judge.features(TEST.images[:2]).shape == (2, network.get_classifier().in_features)


def test_a_probe_that_is_interrupted_goes_on_bit_for_bit(published, photos, tmp_path):
    def stop(event):
        if event.step == 3 and event.text == "training the classifier":
            os.kill(os.getpid(), signal.SIGTERM)

    def train(out, listener=ignore_events):
        given = {"preset": "probe", "model": "test_resnet", "pretrained": str(published), "steps": 6, "average": "ema"}
        return train_classifier(photos, given, out=tmp_path / out, listener=listener)

    with pytest.raises(KeyboardInterrupt):
        train("clf", stop)
    assert [path.name for path in (tmp_path / "clf" / "checkpoints").iterdir()] == ["step-4"]
    resumed, whole = (ClassifierRecord.read(train(out), finished=True).outputs for out in ("clf", "whole"))
    assert resumed["weights.safetensors"] == whole["weights.safetensors"]


def test_the_teachers_of_a_finetuned_classifier_are_probes_of_the_same_weights(published, photos, tmp_path):
    given = {"preset": "finetune", "model": "test_resnet", "pretrained": str(published), "steps": 3, "augment": "none"}
    train_classifier(photos, given | {"distill": "real", "teachers": 2}, out=tmp_path / "clf")
    teachers = [ClassifierRecord.read(tmp_path / "clf.judges" / f"judge-{i}", finished=True) for i in range(2)]
    assert [(t.judge, t.options.preset, t.options.freeze, t.options.loss) for t in teachers] == [
        (True, "probe", "body", "logit-adjusted"),
        (True, "probe", "body", "ldam"),
    ]
    assert [[(one.role, list(one.files)) for one in t.outside] for t in teachers] == [[("classifier", ["model.safetensors"])]] * 2
    bodies = [load_weights(t.path / "weights.safetensors")[0].network.layer4.state_dict() for t in teachers]
    held = load_file(published)
    assert all(torch.equal(value, held[f"layer4.{name}"]) for body in bodies for name, value in body.items())


def test_an_extractor_may_be_a_probe(published, photos, tmp_path):
    weights = {"model": "test_resnet", "pretrained": str(published)}
    record = ClassifierRecord.read(train_extractor(photos, out=tmp_path / "looks", published=weights), finished=True)
    assert (record.judge, record.options.preset, record.options.pretrained) == (True, "probe", str(published))


FROZEN = {"preset": "probe", "model": "test_resnet", "pretrained": "hub"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"preset": "probe", "pretrained": None}, "--preset probe is for published weights; give some with --pretrained"),
        ({"preset": "scratch", "freeze": "body", "pretrained": None}, "--freeze body is for published weights; give some"),
        ({"augment": "crop-flip"}, "--augment crop-flip does not go with --freeze body.* use --augment none or flip"),
        ({"distill": "real"}, "--distill real does not go with --freeze body.* use --distill none"),
        ({"refit": "last"}, "--refit last does not go with --freeze body.* use --refit none or head"),
        ({"layer_decay": 0.5}, r"--layer-decay 0\.5 is read only with --freeze none \(it is body\)"),
        ({"drop_path": 0.5}, r"--drop-path 0\.5 is read only with --freeze none \(it is body\)"),
    ],
)
def test_what_a_frozen_body_cannot_do_is_refused_before_anything_is_computed(given, said):
    with pytest.raises(OptionError, match=said):
        checked(ClassifierOptions, FROZEN | given, where="train-classifier")


def test_freezing_the_body_of_a_finetune_leaves_out_what_only_a_body_reads():
    found = resolve(ClassifierOptions, FROZEN | {"preset": "finetune", "freeze": "body"}, image_side=224)
    assert (found.augment, found.drop_path, found.layer_decay, found.label_smoothing) == ("none", 0, 1, 0.1)
