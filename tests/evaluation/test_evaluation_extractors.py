"""Extractors: the loading path of each on random weights, against the library it comes from."""

import sys

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional as F

from ltaug.errors import DataError, OptionError
from ltaug.evaluation.extractors import DINOV2_WEIGHTS, INCEPTION_WEIGHTS, Dinov2, Inception, Pixels, open_extractor
from ltaug.files import file_digest
from ltaug.runtime import Runtime

CPU = Runtime(torch.device("cpu"), None)
SMALL_DINOV2 = "vit_small_patch14_dinov2.lvd142m"


def images(n, c, side, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (n, c, side, side)).astype(np.uint8)


def opened(name, tmp_path, weights=None):
    return open_extractor(name, weights=weights, folder=tmp_path, download=False, runtime=CPU, tell=lambda *_: None)


def test_pixels_are_the_pixels_and_larger_images_their_averages(tmp_path):
    small = images(3, 3, 8)
    seen = opened("pixels", tmp_path).look(small)
    assert seen.features.dtype == np.float32
    assert np.array_equal(seen.features, (small.reshape(3, -1) / np.float32(255)).astype(np.float32))
    assert seen.scores is None
    assert seen.probabilities is None
    large = images(2, 1, 64)
    blocks = large.reshape(2, 1, 32, 2, 32, 2).mean(axis=(3, 5)) / 255
    assert np.allclose(Pixels().look(large).features, blocks.reshape(2, -1), atol=1e-6)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """Random weights in torch-fidelity's own layout."""
    from torch_fidelity import feature_extractor_inceptionv3 as published

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("inception")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(published.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = published.FeatureExtractorInceptionV3("random", ["2048"])
    for weight in network.parameters():  # so that something of the image reaches the last layer
        if weight.ndim == 4:
            torch.nn.init.kaiming_normal_(weight)
    torch.save(network.state_dict(), folder / "random.pth")
    return folder / "random.pth"


def test_inception_gives_what_torch_fidelity_gives(inception_file):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    mine = Inception.load(inception_file, file_digest(inception_file), CPU)
    path = str(inception_file)
    theirs = FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=path)
    colour, grey = images(2, 3, 16), images(1, 1, 16)
    features, logits = theirs(torch.from_numpy(np.concatenate([colour, grey.repeat(3, axis=1)])))
    seen, seen_grey = mine.look(colour), mine.look(grey)
    assert seen.features.shape == (2, 2048)
    assert seen.scores.shape == (2, 1008)
    assert np.allclose(np.concatenate([seen.features, seen_grey.features]), features.numpy(), rtol=1e-4, atol=1e-6)
    assert np.allclose(np.concatenate([seen.scores, seen_grey.scores]), logits.softmax(1).numpy(), rtol=1e-4)
    assert np.allclose(seen.scores.sum(1), 1, atol=1e-5)
    assert np.ptp(seen.features, axis=0).max() > 1e-3


def test_dinov2_is_timms_class_token_of_images_as_its_configuration_says(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model(SMALL_DINOV2, pretrained=False, img_size=224, num_classes=0).eval()
    path = tmp_path / "dinov2.pth"
    for block in network.blocks:  # timm starts these at 1e-5, which would leave next to nothing of the image
        block.ls1.gamma.data.fill_(0.5)
        block.ls2.gamma.data.fill_(0.5)
    original = network.state_dict() | {"mask_token": torch.zeros(1, 384)}  # as Meta's file has it
    torch.save(original, path)
    mine = Dinov2.load(path, file_digest(path), CPU, architecture=SMALL_DINOV2)
    grey = images(2, 1, 32)
    seen = mine.look(grey)
    assert seen.features.shape == (2, 384)
    assert seen.scores is None
    x = torch.from_numpy(grey).expand(-1, 3, -1, -1) / 255
    x = F.interpolate(x, size=224, mode="bicubic", antialias=True).clamp(0, 1)
    config = timm.get_pretrained_cfg(SMALL_DINOV2)
    x = (x - torch.tensor(config.mean).view(3, 1, 1)) / torch.tensor(config.std).view(3, 1, 1)
    with torch.inference_mode():
        expected = network.forward_features(x)[:, 0]
    assert np.allclose(seen.features, expected.numpy(), atol=1e-4)
    assert np.abs(seen.features[0] - seen.features[1]).max() > 1e-3


def test_an_unknown_extractor_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(OptionError, match="did you mean 'inception'"):
        opened("incepton", tmp_path)


def test_weights_for_an_extractor_without_any_are_refused(tmp_path):
    with pytest.raises(OptionError, match="pixels has no weights; leave it out"):
        opened("pixels", tmp_path, weights=tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_without_its_weights_an_extractor_names_the_flags(name, tmp_path):
    with pytest.raises(DataError, match=rf"--extractor {name} needs .* pass --download .* --weights"):
        opened(name, tmp_path)


def test_a_missing_package_is_said_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(OptionError, match=r"needs torch-fidelity, which is not installed; pip install 'ltaug\[inception\]'"):
        opened("inception", tmp_path)


def test_the_digests_agree_with_what_the_publishers_say():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert INCEPTION_WEIGHTS.url == URL_INCEPTION_V3
    assert INCEPTION_WEIGHTS.sha256.startswith(INCEPTION_WEIGHTS.file.rpartition("-")[2].removesuffix(".pth"))
    assert DINOV2_WEIGHTS.url == timm.get_pretrained_cfg("vit_base_patch14_dinov2.lvd142m").url
