"""Windows of a volume, a slab at a time."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer, sliding_window_inference
from torch import nn

from medssl.inference import windows as streaming
from medssl.inference.windows import stream_windows, window_starts


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1))
    return layers.eval().requires_grad_(False)


def softmax(network):
    return lambda windows: torch.softmax(network(windows), 1)


def monais_inferer(patch, stride):
    """MONAI takes an overlap and truncates; the half voxel keeps rounding from losing one of the stride."""
    overlap = [max(0.0, 1 - (s + 0.5) / p) for s, p in zip(stride, patch, strict=True)]
    return SlidingWindowInferer(roi_size=patch, sw_batch_size=4, overlap=overlap, mode="constant")


@pytest.mark.parametrize("size", [(24, 17, 20), (10, 25, 9), (7, 6, 5), (16, 12, 8), (33, 12, 8)])
@pytest.mark.parametrize("stride", [(16, 12, 8), (5, 12, 3)])
@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_inferer_that_holds_the_whole_image(dims, size, stride):
    torch.manual_seed(0)
    network = {2: nn.Conv2d, 3: nn.Conv3d}[dims](2, 3, 3, padding=1).requires_grad_(False)
    image, patch, stride = torch.randn(2, *size[:dims]), (16, 12, 8)[:dims], stride[:dims]
    expected = monais_inferer(patch, stride)(image[None], softmax(network))[0]
    mean = stream_windows(image, softmax(network), patch=patch, stride=stride)
    torch.testing.assert_close(mean, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(16, 32), (16, 16, 32)])
def test_a_window_as_large_as_the_image_is_the_image(size):
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[len(size)]
    network = conv(2, 3, 3, padding=1).requires_grad_(False)
    image = torch.randn(2, *size)
    streamed = stream_windows(image, softmax(network), patch=size, stride=size)
    assert torch.equal(streamed, softmax(network)(image[None])[0])


def test_gaussian_weights_equal_monais(network):
    image = torch.randn(2, 30, 20, 14)
    patch = (16, 12, 8)
    expected = sliding_window_inference(image[None], patch, 3, softmax(network), overlap=0.5, mode="gaussian")
    streamed = stream_windows(image, softmax(network), patch=patch, stride=(8, 6, 4), weights="gaussian")
    torch.testing.assert_close(streamed, expected[0], atol=1e-6, rtol=0)


def test_every_voxel_lies_in_a_window_and_the_count_is_told(network):
    seen = []
    image = torch.randn(2, 21, 19, 11)
    stream_windows(
        image, softmax(network), patch=(16, 12, 8), stride=(4, 5, 6), batch_size=5,
        advance=seen.append,
    )  # fmt: skip
    counts = [
        len(window_starts(s, p, t)) for s, p, t in zip((21, 19, 11), (16, 12, 8), (4, 5, 6), strict=True)
    ]
    assert sum(seen) == counts[0] * counts[1] * counts[2]
    assert max(seen) == 5


def test_a_large_result_is_stored_in_half_precision(network, monkeypatch):
    image = torch.randn(2, 40, 13, 9)
    settings = {"patch": (16, 12, 8), "stride": (5, 4, 3)}
    exact = stream_windows(image, softmax(network), **settings)
    monkeypatch.setattr(streaming, "HALF_ABOVE", 1000)
    rounded = stream_windows(image, softmax(network), **settings)
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.float16)
    # Rounded once, at the end: no further than half a unit in the last place of numbers up to 1.
    assert (exact - rounded.float()).abs().max() <= 2**-12
