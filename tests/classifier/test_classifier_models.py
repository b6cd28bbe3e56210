"""The networks: exact sizes, timm's interface for every entry, names nobody knows."""

import pytest
import torch

from ltaug.classifier.models import build_model, penultimate
from ltaug.errors import OptionError
from ltaug.methods import MODELS


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet20", 269_722), ("resnet32", 464_154), ("resnet44", 658_586), ("resnet56", 853_018)]
)
def test_a_cifar_resnet_has_the_literatures_number_of_parameters(name, parameters):
    model = build_model(name, num_classes=10, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 13, 21)])
@pytest.mark.parametrize("name", MODELS)
def test_every_network_takes_any_size_and_speaks_timms_interface(name, shape):
    model = build_model(name, num_classes=7, image_shape=shape).eval()
    x = torch.randn(2, *shape)
    features = model.forward_features(x)
    assert features.shape[:2] == (2, 64)
    torch.testing.assert_close(penultimate(model, x), features.mean((2, 3)))
    torch.testing.assert_close(model(x), model.forward_head(features))
    assert model(x).shape == (2, 7)
    assert model(x).isfinite().all()


def test_a_shortcut_that_halves_the_image_subsamples_it_and_pads_channels_with_zeros_on_both_sides():
    block = build_model("resnet8", num_classes=2, image_shape=(1, 8, 8)).stages[1].eval()
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.rand(1, 16, 8, 8)
    y = block(x)
    torch.testing.assert_close(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() == y[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_a_timm_model_is_built_for_the_images_size_and_channels(name):
    model = build_model(name, num_classes=4, image_shape=(1, 32, 32)).eval()
    x = torch.randn(2, 1, 32, 32)
    assert model(x).shape == (2, 4)
    assert penultimate(model, x).ndim == 2


@pytest.mark.parametrize(("name", "hint"), [("resnet-32", "did you mean 'resnet32'"), ("qqqq", "resnet8, resnet20")])
def test_an_unknown_model_is_refused_with_a_hint(name, hint):
    with pytest.raises(OptionError, match=hint):
        build_model(name, num_classes=2, image_shape=(3, 32, 32))


def test_a_timm_model_that_cannot_take_the_images_is_refused():
    with pytest.raises(OptionError, match="cannot take images of 1x8x8"):
        build_model("vit_tiny_patch16_224", num_classes=2, image_shape=(1, 8, 8))
