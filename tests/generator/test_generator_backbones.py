"""Every network: any divisible image, labels that matter, an augmentation of zeros that does not, and its own options."""

import pytest
import torch

from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.generator.backbones import find_backbone, settings_of
from ltaug.generator.fit import build_denoiser
from ltaug.methods import BACKBONES
from ltaug.options import GeneratorOptions
from ltaug.recipes import read_recipe

SIZES = {
    "unet": {"channels": 8, "channel_mults": (1, 2), "blocks": 1, "attention": (4,)},
    "vit": {"patch": 2, "depth": 3, "heads": 2, "width": 8},
}


def small(name, shape=(1, 8, 8), **given):
    torch.manual_seed(0)
    return BACKBONES[name](image_shape=shape, num_classes=3, dropout=0.0, **SIZES[name], **given)


def away_from_zero(net):
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return net


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 10), (4, 12, 12)])
def test_every_backbone_takes_any_divisible_image_and_says_how_wide_its_features_are(name, shape):
    net = small(name, shape)
    prediction, features = net(torch.zeros(2, *shape), torch.tensor([0.0, 999.0]), torch.tensor([0, 3]))
    assert prediction.shape == (2, *shape)
    assert features.shape == (2, net.feature_channels, shape[1] // 2, shape[2] // 2)
    assert net.classes.weight.shape[0] == 3


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_starts_at_zero_and_tells_labels_and_noise_apart(name):
    net = small(name)
    x = torch.randn(1, 1, 8, 8).expand(4, -1, -1, -1)
    t, y = torch.tensor([10.0, 10.0, 10.0, 500.0]), torch.tensor([0, 1, 3, 0])
    assert (net(x, t, y)[0] == 0).all()
    with torch.no_grad():
        prediction, _ = away_from_zero(net)(x, t, y)
    for other in (1, 2, 3):
        assert not torch.allclose(prediction[0], prediction[other])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_tells_edms_noise_levels_apart(name):
    net = away_from_zero(small(name))
    x, y = torch.randn(1, 1, 8, 8).expand(3, -1, -1, -1), torch.zeros(3, dtype=torch.long)
    with torch.no_grad():
        prediction, _ = net(x, torch.tensor([0.002, 0.5, 80.0]).log() / 4, y)
    assert (prediction[0] - prediction[1]).abs().max() > 1e-3
    assert (prediction[1] - prediction[2]).abs().max() > 1e-3


@pytest.mark.parametrize("name", BACKBONES)
def test_an_augmentation_of_zeros_is_none_at_all_and_another_one_matters(name):
    net = away_from_zero(small(name, augment_channels=5))
    x, t, y = torch.randn(2, 1, 8, 8), torch.tensor([10.0, 500.0]), torch.tensor([0, 3])
    with torch.no_grad():
        none, zeros, ones = (net(x, t, y, augment)[0] for augment in (None, torch.zeros(2, 5), torch.ones(2, 5)))
    assert torch.equal(none, zeros)
    assert not torch.allclose(none, ones)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_features_of_every_backbone_know_the_image_and_its_class(name):
    net = away_from_zero(small(name))
    t = torch.full((3,), 100.0)
    x = torch.randn(2, 1, 8, 8)[[0, 0, 1]]
    with torch.no_grad():
        _, features = net(x, t, torch.tensor([0, 1, 0]))
    assert not torch.allclose(features[0], features[1])
    assert not torch.allclose(features[0], features[2])


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("side", [8, 32])
def test_the_defaults_of_every_backbone_fit_together_for_small_and_large_images(name, side):
    options = resolve(GeneratorOptions, {"backbone": name}, image_side=side)
    with torch.device("meta"):
        assert build_denoiser(options, image_shape=(3, side, side), num_classes=2).feature_channels > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_the_sizes_that_options_give_are_those_the_network_is_built_with(name):
    settings = settings_of(GeneratorOptions(backbone=name, dropout=0.25))
    assert settings.pop("dropout") == 0.25
    assert set(settings) == set(SIZES[name])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"backbone": "vit", "channels": 24},
            r"--channels 24 belongs to --backbone unet, and the network is 'vit'; leave it out",
        ),
        ({"backbone": "vit", "channel_mults": (1, 3)}, r"--channel-mults 1,3 belongs to --backbone unet"),
        ({"patch": 4}, r"--patch 4 belongs to --backbone vit, and the network is 'unet'; leave it out or use --backbone vit"),
    ],
)
def test_a_size_of_another_network_is_refused_with_the_remedy(given, said):
    with pytest.raises(OptionError, match=said):
        settings_of(GeneratorOptions(**given))


@pytest.mark.parametrize("side", [8, 32])
def test_defaults_of_another_network_pass_whatever_the_image_size_they_are_for(side):
    for name in BACKBONES:
        settings_of(resolve(GeneratorOptions, {"backbone": name}, image_side=side))


def test_an_unknown_backbone_is_answered_with_the_names():
    with pytest.raises(OptionError, match="did you mean 'unet'"):
        find_backbone("uunet")


def test_a_shared_option_of_one_network_reaches_only_the_arms_that_use_it(tmp_path):
    path = tmp_path / "networks.toml"
    path.write_text("""
[fit-generator]
channels = 24
depth = 6
[arms.default]
[arms.vit.fit-generator]
backbone = "vit"
[arms.mistaken.fit-generator]
patch = 4
""")
    recipe = read_recipe(path)
    default, vit, mistaken = (recipe.given(arm, "fit-generator") for arm in recipe.arms)
    assert default == {"channels": 24}
    assert vit == {"backbone": "vit", "depth": 6}
    assert mistaken == {"channels": 24, "patch": 4}  # the arm's own word stays, to be refused
