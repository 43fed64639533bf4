"""Full-size networks: the published numbers of parameters, and two steps of training."""

import pytest
import torch
from torch import nn

from medssl.networks import DPT, DeepLabV3Plus, SegFormer
from medssl.training import parameter_groups

# UniMatch's ResNet begins with three convolutions, from 3 to 64, 64 to 64 and 64 to 128 channels, instead of
# one of 7x7; the first block therefore reads 128 channels instead of 64. Batch norms have two weights a
# channel.
DEEP_STEM = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128) - (49 * 3 * 64 + 2 * 64) + 64 * (64 + 256)


def head_of_deeplab(num_classes):
    pooling = 2 * 256 * 2048 + 3 * 9 * 256 * 2048 + 256 * 5 * 256 + 6 * 2 * 256
    decoder = 48 * 256 + 9 * (304 + 256) * 256 + 2 * (48 + 256 + 256)
    return pooling + decoder + (256 + 1) * num_classes


def never_run(features, hidden):
    """What UniMatch V2's DPT counts and never runs: a residual unit, and DINOv2's token of masked patches."""
    return 2 * (9 * features + 1) * features + hidden


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def in_millions(number):
    return round(number / 1e6, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone", "printed"),
    # 25,557,032 and 44,549,160 are torchvision's ResNets; their classifiers have 2,049,000.
    [("resnet50", 25_557_032 - 2_049_000, 40.5), ("resnet101", 44_549_160 - 2_049_000, 59.5)],
)
def test_deeplab_has_the_published_parameters(name, backbone, printed):
    network = DeepLabV3Plus(21, name)
    assert count(network.backbone) == backbone
    assert count(network) == backbone + head_of_deeplab(21)
    assert in_millions(count(network) + DEEP_STEM) == printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "num_classes", "encoder", "printed", "dead"),
    [
        ("small", 21, 22.1, 24.8, never_run(64, 384)),
        ("base", 21, 86.6, 97.5, never_run(128, 768)),
        ("large", 150, 304.4, 335.6, never_run(256, 1024)),
    ],
)
def test_dpt_has_the_published_parameters(size, num_classes, encoder, printed, dead):
    network = DPT(num_classes, size)
    assert in_millions(count(network.backbone)) == encoder
    assert in_millions(count(network) + dead) == printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "encoder", "head"),
    [
        ("b0", 3.4, 0.4),
        ("b1", 13.1, 0.6),
        ("b2", 24.2, 3.3),
        ("b3", 44.0, 3.3),
        ("b4", 60.8, 3.3),
        ("b5", 81.4, 3.3),
    ],
)
def test_segformer_has_the_published_parameters(size, encoder, head):
    """Table 1a of the paper, with ADE20K's 150 classes."""
    network = SegFormer(150, size)
    backbone = count(network.backbone)
    assert backbone / 1e6 == pytest.approx(encoder, abs=0.11)
    assert (count(network) - backbone) / 1e6 == pytest.approx(head, abs=0.11)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: DeepLabV3Plus(21, "resnet101"), 65),
        (lambda: DPT(21, "base"), 56),
        (lambda: SegFormer(21, "b5"), 64),
    ],
    ids=["DeepLabV3+ ResNet-101", "DPT DINOv2-B", "SegFormer-B5"],
)
def test_full_size_networks_train_for_two_steps(make, side):
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.SGD(parameter_groups(network, 1e-3), momentum=0.9)
    images, labels = torch.rand(2, 3, side, side), torch.zeros(2, side, side, dtype=torch.long)
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(network(images).logits[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert torch.isfinite(torch.tensor(losses)).all()
    assert losses[2] < losses[0]
