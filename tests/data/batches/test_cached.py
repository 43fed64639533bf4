"""A data set in memory, in part or not at all."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Resized, ScaleIntensityRanged
from PIL import Image

from medssl.data import CachedDataset, LoadCased, StrongImageViewd, WeakImageViewd, two_stream_loader

PREPROCESSING = Compose(
    [
        LoadCased(["image", "label"], in_channels=3),
        ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=1),
        Resized(["image", "label"], (12, 15), mode=["area", "nearest-exact"], allow_missing_keys=True),
    ]
)


@pytest.fixture
def items(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for number in range(5):
        image, label = tmp_path / f"{number}.jpg", tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (24, 30, 3), np.uint8)).save(image)
        Image.fromarray(rng.integers(0, 4, (24, 30), np.uint8)).save(label)
        found.append({"image": str(image), **({"label": str(label)} if number < 2 else {})})
    return found


def batches(dataset):
    loader = two_stream_loader(
        dataset, num_labeled=2, views=("weak", "strong1", "strong2"), valid=True, seed=3,
        augmentation=WeakImageViewd((10, 14)), strong=StrongImageViewd(),
    )  # fmt: skip
    return [batch for batch, _ in zip(loader, range(4), strict=False)]


@pytest.mark.parametrize("cache_rate", [0.0, 0.5])
def test_what_is_not_cached_is_read_when_it_is_drawn_and_is_the_same(items, cache_rate):
    cached = batches(CachedDataset(items, PREPROCESSING, num_workers=0))
    lazy = CachedDataset(items, PREPROCESSING, cache_rate=cache_rate, num_workers=0)
    assert len(lazy._cache) == int(cache_rate * 5)
    for batch, other in zip(cached, batches(lazy), strict=True):
        assert torch.equal(batch["image"], other["image"])
        assert torch.equal(batch["label"], other["label"])
        for view, images in batch["unlabeled"].items():
            assert images.shape == (2, 3, 10, 14)
            assert images.min() >= 0
            assert images.max() <= 1 + 1e-6
            assert torch.equal(images, other["unlabeled"][view])
