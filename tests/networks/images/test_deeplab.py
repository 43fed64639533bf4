"""Dilation against the undilated network and against plain convolutions; the head against plain functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import ResNetConfig, ResNetModel

from medssl.common.errors import InputError
from medssl.networks import DeepLabV3Plus
from medssl.networks.images.deeplab import dilate
from medssl.networks.images.pooling import AtrousPyramidPooling
from tests.networks.images.tiny import RESNET, tiny

BASIC = {**RESNET, "layer_type": "basic"}


def resnet(config, seed=0):
    torch.manual_seed(seed)
    network = ResNetModel(ResNetConfig(**config)).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize("config", [RESNET, BASIC, {**RESNET, "downsample_in_bottleneck": True}])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_dilated_network_is_the_undilated_one_between_whose_pixels_it_looks(output_stride, config):
    plain, dilated = resnet(config), resnet(config)
    dilate(dilated, output_stride)
    images = torch.randn(2, 3, 64, 96)
    expected, dense = plain(images).last_hidden_state, dilated(images).last_hidden_state
    step = 32 // output_stride
    assert dense.shape[2:] == (64 // output_stride, 96 // output_stride)
    torch.testing.assert_close(dense[..., ::step, ::step], expected, atol=1e-4, rtol=1e-4)
    first = [stages.hidden_states[1] for stages in (plain(images, output_hidden_states=True),
                                                    dilated(images, output_hidden_states=True))]  # fmt: skip
    assert torch.equal(*first)


def test_the_last_stage_equals_plain_convolutions():
    network = resnet(RESNET)
    dilate(network, 16)
    stages = network(torch.randn(1, 3, 64, 64), output_hidden_states=True).hidden_states

    def unit(x, part, **options):
        norm = part.normalization
        x = F.conv2d(x, part.convolution.weight, **options)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)

    x = stages[-2]
    for block, dilation in zip(network.encoder.stages[3].layers, (1, 2), strict=True):
        y = unit(x, block.layer[0]).relu()
        y = unit(y, block.layer[1], padding=dilation, dilation=dilation).relu()
        shortcut = unit(x, block.shortcut) if hasattr(block.shortcut, "convolution") else x
        x = (unit(y, block.layer[2]) + shortcut).relu()
    torch.testing.assert_close(x, stages[-1])


def test_the_pooling_reads_four_scales_and_the_whole_image():
    torch.manual_seed(0)
    pooling = AtrousPyramidPooling(4, 6, (2, 3, 5)).eval()
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    parts = [unit[0].weight for unit in (*pooling.branches, pooling.image)]
    scale = (1 + 1e-5) ** -0.5  # a batch norm that has seen nothing
    branches = [F.relu(scale * F.conv2d(x, parts[0]))]
    branches += [
        F.relu(scale * F.conv2d(x, w, padding=d, dilation=d))
        for w, d in zip(parts[1:4], (2, 3, 5), strict=True)
    ]
    branches.append(F.relu(scale * F.conv2d(x.mean((2, 3), keepdim=True), parts[4])).expand(-1, -1, 9, 9))
    expected = F.relu(scale * F.conv2d(torch.cat(branches, 1), pooling.project[0].weight))
    torch.testing.assert_close(pooling(x), expected)


def test_the_decoder_refines_the_pooled_maps_with_the_first_stage():
    torch.manual_seed(0)
    network = tiny("DeepLabV3Plus").eval()
    low, high = network.encode(torch.rand(2, 3, 64, 64))
    output = network.decode((low, high), (64, 64))
    context = network.pooling(high)
    assert torch.equal(output.context[0], context)
    upsampled = F.interpolate(context, low.shape[2:], mode="bilinear", align_corners=True)
    features = network.fuse(torch.cat([network.reduce(low), upsampled], 1))
    torch.testing.assert_close(output.features[0], features)
    logits = F.interpolate(network.classifier(features), (64, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(output.logits[0], logits)


def test_one_image_is_predicted_but_not_trained_on():
    network = tiny("DeepLabV3Plus")
    with pytest.raises(InputError, match=r"a batch of one image: .*; train on two or more"):
        network(torch.rand(1, 3, 32, 32))
    assert network.eval()(torch.rand(1, 3, 32, 32)).logits[0].shape == (1, 3, 32, 32)
    # Whose batch norms are synchronised has the images of the other processes, and is not refused here.
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network.train())
    assert not isinstance(synchronised.pooling.image[1], nn.BatchNorm2d)


def test_other_output_strides_and_backbones_are_refused():
    with pytest.raises(InputError, match="output_stride=32: not published; give 16 or 8"):
        tiny("DeepLabV3Plus", output_stride=32)
    with pytest.raises(InputError, match="backbone 'resnet51': no such name; did you mean 'resnet50'"):
        DeepLabV3Plus(21, "resnet51")


def test_output_stride_8_gives_the_pooling_twice_the_grid():
    maps = tiny("DeepLabV3Plus", output_stride=8).encode(torch.rand(2, 3, 64, 64))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 16), (8, 8)]
