"""The U-Net: published parameter and multiplication counts, sizes that are refused."""

import pytest
import torch

from ltaug.errors import OptionError
from ltaug.generator.backbones.unet import UNet


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
