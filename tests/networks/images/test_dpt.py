"""Tokens against transformers' own backbone, the head against plain functions."""

import pytest
import torch
import torch.nn.functional as F
from transformers import Dinov2Backbone, Dinov2Config

from medssl.common.errors import InputError
from medssl.networks import DPT, check_patch_size
from medssl.networks.images.dpt import DINOV2
from tests.networks.images.tiny import DINOV2 as TINY
from tests.networks.images.tiny import tiny


@pytest.mark.parametrize("sides", [(16, 16), (24, 40)])  # of the position embeddings, and interpolated
def test_the_maps_are_the_normed_tokens_of_the_layers(sides):
    torch.manual_seed(0)
    network = tiny("DPT", layers=(0, 1, 2, 3)).eval()
    with torch.no_grad():
        for weight in network.backbone.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    config = Dinov2Config(**TINY, use_mask_token=False, out_features=["stage1", "stage2", "stage3", "stage4"])
    reference = Dinov2Backbone(config).eval()
    reference.load_state_dict(network.backbone.state_dict())
    images = torch.rand(2, 3, *sides)
    expected = reference(network.normalization(images)).feature_maps
    for ours, theirs in zip(network.encode(images), expected, strict=True):
        assert tuple(ours.shape) == (2, 24, sides[0] // 4, sides[1] // 4)
        torch.testing.assert_close(ours, theirs)


def test_the_head_fuses_from_the_coarsest_to_the_finest():
    torch.manual_seed(0)
    network = tiny("DPT").eval()
    maps = network.encode(torch.rand(2, 3, 24, 32))
    head = network.head

    def up(x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    def residual(x, unit):
        return x + unit.conv2(F.relu(unit.conv1(F.relu(x))))

    levels = [project(level) for project, level in zip(head.projections, maps, strict=True)]
    levels = [
        head.resizings[0](levels[0]),
        head.resizings[1](levels[1]),
        levels[2],
        head.resizings[3](levels[3]),
    ]
    assert [tuple(level.shape[2:]) for level in levels] == [(24, 32), (12, 16), (6, 8), (3, 4)]
    levels = [lateral(level) for lateral, level in zip(head.laterals, levels, strict=True)]
    fourth, third, second, first = (head.fusions[index] for index in (3, 2, 1, 0))
    path = fourth.project(up(residual(levels[3], fourth.refine), (6, 8)))
    path = third.project(up(residual(path + residual(levels[2], third.lateral), third.refine), (12, 16)))
    path = second.project(up(residual(path + residual(levels[1], second.lateral), second.refine), (24, 32)))
    path = first.project(up(residual(path + residual(levels[0], first.lateral), first.refine), (48, 64)))
    embeddings = F.relu(head.embed[0](path))
    output = network.decode(maps, (24, 32))
    torch.testing.assert_close(output.logits[0], up(head.classifier(embeddings), (24, 32)))
    torch.testing.assert_close(output.features[0], F.avg_pool2d(embeddings, 2))
    assert torch.equal(output.context[0], maps[-1])


def test_only_whole_patches_are_taken():
    network = tiny("DPT")
    assert network.patch_multiple == 4
    assert network.fitting == "resize"
    with pytest.raises(InputError, match="each side must be a multiple of 4; the nearest is 16x20"):
        check_patch_size(network, (17, 20))
    with pytest.raises(InputError, match="patch size 17x20: DPT cannot take it"):
        network(torch.rand(1, 3, 17, 20))


def test_the_published_layers_and_widths():
    for size, layers, features, out_channels in (
        ("small", (2, 5, 8, 11), 64, (48, 96, 192, 384)),
        ("base", (2, 5, 8, 11), 128, (96, 192, 384, 768)),
        ("large", (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
    ):
        with torch.device("meta"):
            network = DPT(21, size)
        assert network.layers == layers
        assert network.head.classifier.in_channels == features
        assert tuple(projection.out_channels for projection in network.head.projections) == out_channels
        assert network.patch_multiple == 14
        assert DINOV2[size]["image_size"] == 518


@pytest.mark.parametrize("layers", [(0, 1, 2), (0, 1, 2, 4), (3, 2, 1, 0), (-1, 0, 1, 2)])
def test_layers_that_there_are_not_are_refused(layers):
    with pytest.raises(InputError, match="not 4 of 4 in order; count layers from 0"):
        tiny("DPT", layers=layers)


def test_the_tiny_one_is_for_machines_without_a_gpu():
    network = DPT(11, "tiny")
    assert sum(weight.numel() for weight in network.parameters()) < 1_000_000
    assert network(torch.rand(1, 3, 80, 80)).logits[0].shape == (1, 11, 80, 80)
