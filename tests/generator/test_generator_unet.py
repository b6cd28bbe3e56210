"""The U-Net: published parameter counts, any divisible image, labels that matter."""

import pytest
import torch

from ltaug.errors import OptionError
from ltaug.generator.backbones import BACKBONES, find_backbone
from ltaug.generator.backbones.unet import UNet
from ltaug.generator.samplers import find_sampler


@pytest.mark.parametrize(("num_classes", "parameters"), [(10, 35_751_427), (100, 35_797_507)])
def test_the_paper_setting_has_the_published_number_of_parameters(num_classes, parameters):
    with torch.device("meta"):
        net = UNet(image_shape=(3, 32, 32), num_classes=num_classes)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters


def test_the_paper_setting_costs_the_published_multiplications():
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = UNet(image_shape=(3, 32, 32), num_classes=10)
        x, t, y = torch.zeros(1, 3, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            net(x, t, y)
    assert counter.get_total_flops() / 2 == pytest.approx(6.22e9, rel=1e-3)


def small(name, shape=(1, 8, 8)):
    torch.manual_seed(0)
    return BACKBONES[name](
        image_shape=shape, num_classes=3, channels=8, channel_mults=(1, 2), blocks=1, attention=(4,), dropout=0.0
    )


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 10), (4, 12, 12)])
def test_every_backbone_takes_any_divisible_image(name, shape):
    prediction, features = small(name, shape)(torch.zeros(2, *shape), torch.tensor([0.0, 999.0]), torch.tensor([0, 3]))
    assert prediction.shape == (2, *shape)
    assert features.shape[0] == 2
    assert features.ndim == 4


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_starts_at_zero_and_tells_labels_and_noise_apart(name):
    net = small(name)
    x = torch.randn(1, 1, 8, 8).expand(4, -1, -1, -1)
    t, y = torch.tensor([10.0, 10.0, 10.0, 500.0]), torch.tensor([0, 1, 3, 0])
    assert (net(x, t, y)[0] == 0).all()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)
        prediction, _ = net(x, t, y)
    for other in (1, 2, 3):
        assert not torch.allclose(prediction[0], prediction[other])


def test_an_image_that_cannot_be_halved_is_refused_with_the_remedy():
    with pytest.raises(OptionError, match=r"10x10 .* divisible by 4"):
        UNet(image_shape=(3, 10, 10), num_classes=2, channel_mults=(1, 2, 2))


@pytest.mark.parametrize("channels", [2, 6, 14, 34, 136])
def test_any_even_number_of_channels_makes_a_network(channels):
    with torch.device("meta"):
        net = UNet(image_shape=(1, 8, 8), num_classes=2, channels=channels, channel_mults=(1, 3), blocks=1)
        assert net(torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.long))[0].shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"channels": 7}, "--channels 7 is odd"),
        ({"channel_mults": ()}, "--channel-mults none"),
        ({"channel_mults": (1, 0)}, "1,0"),
    ],
)
def test_sizes_that_make_no_network_are_refused(sizes, said):
    with pytest.raises(OptionError, match=said):
        UNet(image_shape=(1, 8, 8), num_classes=2, **sizes)


def test_an_unknown_backbone_or_sampler_is_answered_with_the_names():
    with pytest.raises(OptionError, match="did you mean 'unet'"):
        find_backbone("uunet")
    with pytest.raises(OptionError, match="did you mean 'ddim'"):
        find_sampler("ddimm")
