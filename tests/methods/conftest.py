import pytest
import torch

from medssl.methods import Batch
from medssl.networks import DualDecoderVNet


def make_batch(labeled=2, unlabeled=2, shape=(32, 16, 16), classes=2, seed=0) -> Batch:
    """Images whose classes are bright slabs of growing intensity."""
    generator = torch.Generator().manual_seed(seed)
    count = labeled + unlabeled
    rest = [1] * (len(shape) - 2)
    position = torch.linspace(0, classes - 1e-3, shape[1]).view(1, 1, -1, *rest)
    shift = torch.rand(count, 1, 1, *rest, generator=generator) * 0.5
    labels = (position + shift).floor().clamp(0, classes - 1).long().expand(count, *shape).contiguous()
    images = labels.float().unsqueeze(1) + 0.2 * torch.randn(count, 1, *shape, generator=generator)
    return Batch(images[:labeled], labels[:labeled], {"weak": images[labeled:]})


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@pytest.fixture
def network() -> DualDecoderVNet:
    torch.manual_seed(0)
    return DualDecoderVNet(width=2)
