"""The vision transformer: patches in their places, the paper's size, sizes that are refused."""

import math

import pytest
import torch

from ltaug.errors import OptionError
from ltaug.generator.backbones.vit import ViT, position_embedding


def test_the_paper_setting_has_its_depth_heads_width_and_parameters():
    with torch.device("meta"):
        net = ViT(image_shape=(3, 32, 32), num_classes=10, patch=4)
    assert len(net.blocks) == 9
    assert {block.attn.num_heads for block in net.blocks} == {12}
    d, pixels = 384, 3 * 4 * 4
    block = (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d) + 2 * 2 * d
    told = 2 * (d * d + d) + 10 * d  # of the time and the class
    assert sum(p.numel() for p in net.parameters()) == (pixels * d + d) + told + 9 * block + 2 * d + (d * pixels + pixels)


def test_a_patch_comes_out_where_it_went_in():
    torch.manual_seed(0)
    net = ViT(image_shape=(2, 6, 4), num_classes=1, patch=2, depth=1, heads=1, width=8, dropout=0.0)
    with torch.no_grad():  # blocks that add nothing, patches that are tokens, no position, time or class, a plain read-out
        for p in net.parameters():
            p.zero_()
        net.positions.zero_()
        net.stem.weight.copy_(torch.eye(8).view(8, 2, 2, 2))
        net.head.weight.copy_(torch.eye(8))
        net.norm = torch.nn.Identity()
        x = torch.randn(1, 2, 6, 4)
        prediction, features = net(x, torch.zeros(1), torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(prediction, x)
    torch.testing.assert_close(features[0, :, 2, 1], x[0, :, 4:, 2:].flatten())


@pytest.mark.parametrize(("height", "width"), [(3, 5), (1, 1), (16, 16)])
def test_every_position_has_an_embedding_of_its_own_of_its_row_and_its_column(height, width):
    found = position_embedding(height, width, 16).view(height, width, 16)
    assert torch.equal(found[:, :, :8], found[:, :1, :8].expand(-1, width, -1))
    assert torch.equal(found[:, :, 8:], found[:1, :, 8:].expand(height, -1, -1))
    distances = torch.cdist(found.flatten(0, 1), found.flatten(0, 1)).fill_diagonal_(math.inf)
    assert distances.min() > 0.1


def test_positions_turn_between_half_a_circle_a_token_and_half_a_circle_an_image():
    found = position_embedding(4, 1, 16).view(4, 16)
    slowest, fastest = math.pi / 4, math.pi
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, -1.0, 1.0, -1.0]))  # cos(row * fastest)
    torch.testing.assert_close(found[:, 3], (torch.arange(4) * slowest).cos())
    torch.testing.assert_close(found[:, 4:8].square() + found[:, :4].square(), torch.ones(4, 4))
    assert (found[:, 4] - (torch.arange(4) * fastest).sin()).abs().max() < 1e-6


def test_the_features_are_the_tokens_after_the_middle_block():
    torch.manual_seed(0)
    net = ViT(image_shape=(1, 4, 4), num_classes=2, patch=2, depth=3, heads=2, width=8, dropout=0.0)
    seen = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(out))
    _, features = net(torch.randn(2, 1, 4, 4), torch.tensor([3.0, 400.0]), torch.tensor([0, 1]))
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), seen[1])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"patch": 3}, r"images of 8x8 cannot be cut into patches of 3x3; use another --patch or an --image-size divisible by 3"),
        ({"width": 100, "heads": 12}, r"--width 100 cannot be shared out among --heads 12; use a multiple of 12"),
        ({"width": 18, "heads": 3}, r"--width 18 is not divisible by 4"),
    ],
)
def test_sizes_that_make_no_network_are_refused_with_the_remedy(sizes, said):
    with pytest.raises(OptionError, match=said):
        ViT(image_shape=(1, 8, 8), num_classes=2, **sizes)


def test_dropout_varies_training_and_leaves_sampling_alone():
    torch.manual_seed(0)
    net = ViT(image_shape=(1, 4, 4), num_classes=2, patch=2, depth=2, heads=2, width=8, dropout=0.5)
    torch.nn.init.normal_(net.head.weight)
    given = torch.randn(1, 1, 4, 4), torch.tensor([3.0]), torch.tensor([0])
    assert not torch.equal(net.train()(*given)[0], net(*given)[0])
    assert torch.equal(net.eval()(*given)[0], net(*given)[0])
