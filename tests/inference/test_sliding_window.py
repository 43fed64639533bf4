"""Windows and averages against the literature's scheme, written out here."""

import itertools
import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from medssl.common.errors import InputError
from medssl.inference.deployable import deployable, fold_batch_norm
from medssl.inference.sliding_window import SlidingWindowProbabilities
from medssl.inference.windows import window_starts
from medssl.networks import Deployed, DualDecoderVNet, VNet


def literature_starts(size: int, patch: int, stride: int) -> list[int]:
    count = math.ceil((size - patch) / stride) + 1
    return [min(stride * i, size - patch) for i in range(count)]


def literature_windows(shape, patch, stride):
    axes = [literature_starts(*axis) for axis in zip(shape, patch, stride, strict=True)]
    return sorted(itertools.product(*axes))


@pytest.mark.parametrize("seed", range(40))
def test_windows_are_those_of_the_literature(seed):
    rng = np.random.default_rng(seed)
    patch, extra = int(rng.integers(4, 40)), int(rng.integers(0, 60))
    stride = int(rng.integers(1, patch + 1))
    starts = window_starts(patch + extra, patch, stride)
    assert starts == literature_starts(patch + extra, patch, stride)


def tiny(dims: int) -> nn.Module:
    torch.manual_seed(0)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 3, 3, padding=1)).eval()


def literature_average(image, network, patch, stride, classes):
    """Pad symmetrically to the patch, softmax per window, mean over windows, crop back."""
    shape = image.shape[2:]
    before = [max(p - s, 0) // 2 for p, s in zip(patch, shape, strict=True)]
    after = [max(p - s, 0) - b for p, s, b in zip(patch, shape, before, strict=True)]
    pads = [v for pair in zip(reversed(before), reversed(after), strict=True) for v in pair]
    padded = nn.functional.pad(image, pads)
    total = torch.zeros(1, classes, *padded.shape[2:])
    count = torch.zeros_like(total)
    for start in literature_windows(padded.shape[2:], patch, stride):
        where = (slice(None), slice(None), *(slice(a, a + p) for a, p in zip(start, patch, strict=True)))
        with torch.no_grad():
            total[where] += torch.softmax(network(padded[where]), 1)
        count[where] += 1
    crop = tuple(slice(b, b + s) for b, s in zip(before, shape, strict=True))
    return (total / count)[(slice(None), slice(None), *crop)]


@pytest.mark.parametrize(
    ("shape", "patch", "stride"),
    [
        ((20, 17), (8, 8), (3, 5)),
        ((20, 17, 9), (8, 8, 8), (3, 5, 2)),
        ((5, 17, 9), (8, 8, 8), (8, 8, 8)),
        ((4, 3, 5), (8, 8, 8), (2, 2, 2)),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_probabilities_are_the_literature_average(shape, patch, stride, batch_size):
    network = tiny(len(shape))
    image = torch.randn(1, 1, *shape)
    ours = SlidingWindowProbabilities(patch, stride=stride, batch_size=batch_size)(image, network)
    published = literature_average(image, network, patch, stride, classes=3)
    torch.testing.assert_close(ours, published, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.sum(1), torch.ones(1, *shape))


@pytest.mark.parametrize("stride", [[0, 4, 4], [4, 9, 4], [4, 4]])
def test_refuses_a_stride_outside_its_range(stride):
    with pytest.raises(InputError, match="stride"):
        SlidingWindowProbabilities([8, 8, 8], stride=stride)


def with_statistics(network: nn.Module) -> nn.Module:
    """Running statistics as after a training."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


def test_folding_takes_all_batch_norms_and_changes_nothing_else():
    network = with_statistics(DualDecoderVNet(width=4))
    folded = fold_batch_norm(network)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm3d) for m in network.modules())
    images = torch.randn(2, 1, 32, 16, 16)
    with torch.no_grad():
        for after, before in zip(folded(images).logits, network(images).logits, strict=True):
            torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_deployable_is_channels_last_and_close_in_bfloat16():
    network = Deployed(with_statistics(VNet(width=4)))
    ready = deployable(network)
    assert ready.encoder.stages[1][0][0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    image = torch.randn(1, 1, 40, 20, 30)
    plain = SlidingWindowProbabilities([32, 16, 16], stride=[16, 8, 8], channels_last=False)(image, network)
    fast = SlidingWindowProbabilities([32, 16, 16], stride=[16, 8, 8])(image, ready)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    coarse = SlidingWindowProbabilities([32, 16, 16], stride=[16, 8, 8], amp="bf16")(image, ready)
    assert coarse.dtype == torch.float32
    assert (coarse - plain).abs().mean() < 0.02


def test_every_kind_of_convolution_is_folded_and_odd_neighbours_are_left_alone():
    torch.manual_seed(2)
    for conv, transposed, norm, shape in (
        (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, (9, 8)),
        (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, (6, 5, 4)),
    ):
        network = nn.Sequential(
            nn.Sequential(conv(2, 6, 3, padding=1, bias=False), norm(6), nn.ReLU()),
            nn.Sequential(nn.Sequential(nn.Identity(), transposed(6, 4, 2, stride=2)), norm(4)),
            nn.Sequential(nn.Sequential(), norm(4)),
            nn.Sequential(conv(4, 4, 1), norm(4, track_running_stats=False)),
            nn.Sequential(transposed(4, 4, 2, stride=2, groups=2), norm(4)),
        )
        images = torch.randn(2, 2, *shape)
        for _ in range(3):
            network(images)  # running statistics
        network.eval()
        folded = fold_batch_norm(network)
        with torch.no_grad():
            torch.testing.assert_close(folded(images), network(images), rtol=0, atol=1e-5)
        assert sum(isinstance(module, norm) for module in folded.modules()) == 3


def test_folding_works_on_a_copy():
    network = with_statistics(VNet(width=2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert network.training
    assert not folded.training
    for parameter in folded.parameters():
        parameter.data.zero_()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels_last", [True, False])
def test_windows_reach_the_network_in_batches_and_in_the_asked_layout(dims, channels_last):
    seen = []
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]

    def network(windows):
        seen.append((type(windows), len(windows), windows.is_contiguous(memory_format=layout)))
        return torch.cat([windows, -windows], 1)[:, :2]

    image = MetaTensor(torch.randn(1, 2, *[10] * dims))
    inferer = SlidingWindowProbabilities(
        [4] * dims, stride=[3] * dims, batch_size=3, channels_last=channels_last
    )
    probs = inferer(image, network)
    assert sum(count for _, count, _ in seen) == 3**dims
    assert {count for _, count, _ in seen} == {3}
    assert {kind for kind, _, _ in seen} == {torch.Tensor}
    assert {last for _, _, last in seen} == {channels_last}
    assert probs.shape == (1, 2, *[10] * dims)
    torch.testing.assert_close(probs.sum(1), torch.ones(1, *[10] * dims))
