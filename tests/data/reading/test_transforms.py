from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, RandRotate90d, Spacingd

from medssl.data import CropToBoxd, NormalizeByForegroundd


def volume(shape=(6, 5, 4), spacing=1.0):
    affine = torch.diag(torch.tensor([spacing] * 3 + [1.0], dtype=torch.float64))
    values = torch.arange(float(np.prod(shape))).reshape(1, *shape)
    return MetaTensor(values, affine=affine, meta={"original_affine": affine.numpy()})


BOX = [[1, 4], [0, 5], [2, 3]]


def test_crop_takes_the_box_and_moves_the_origin():
    image = volume(spacing=2.0)
    cropped = CropToBoxd(["image", "label"])({"image": image, "roi": BOX})["image"]
    assert torch.equal(cropped.as_tensor(), image.as_tensor()[:, 1:4, 0:5, 2:3])
    np.testing.assert_allclose(cropped.affine[:3, 3], [2, 0, 4])


def test_crop_inverts_to_the_whole_volume():
    transform = CropToBoxd("image")
    restored = transform.inverse(transform({"image": volume(), "roi": BOX}))["image"]
    expected = torch.zeros_like(volume().as_tensor())
    expected[:, 1:4, 0:5, 2:3] = volume().as_tensor()[:, 1:4, 0:5, 2:3]
    assert torch.equal(restored.as_tensor(), expected)
    np.testing.assert_allclose(restored.affine, np.eye(4))


def test_item_without_a_box_passes_both_ways():
    transform, item = CropToBoxd("image"), {"image": volume()}
    assert transform.inverse(transform(item))["image"].shape == (1, 6, 5, 4)


def test_crop_after_resampling_is_refused():
    chain = Compose([Spacingd("image", pixdim=(2.0, 2.0, 2.0)), CropToBoxd("image")])
    with pytest.raises(RuntimeError) as caught:
        chain({"image": volume(), "roi": BOX})
    assert "must stand before" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "box", [[[0, 7], [0, 5], [0, 4]], [[3, 3], [0, 5], [0, 4]], [[-1, 3], [0, 5], [0, 4]]]
)
def test_box_outside_the_volume_is_refused(box):
    with pytest.raises(ValueError, match="does not lie in 'image'"):
        CropToBoxd("image")({"image": volume(), "roi": box})


def test_normalisation_equals_the_published_formula():
    image = np.random.default_rng(0).gamma(2.0, size=(2, 5, 5, 5)).astype(np.float32)
    image[:, :2] = 0
    result = NormalizeByForegroundd("image")({"image": MetaTensor(image)})["image"].numpy()
    for channel, got in zip(image, result, strict=True):
        inside = channel[channel > 0]
        np.testing.assert_allclose(got, (channel - inside.mean()) / inside.std(), rtol=1e-5, atol=1e-5)


def test_normalisation_of_a_constant_or_empty_channel_is_finite():
    for value in (0.0, 3.0):
        result = NormalizeByForegroundd("image")({"image": torch.full((1, 3, 3, 3), value)})["image"]
        assert torch.equal(torch.as_tensor(result), torch.zeros(1, 3, 3, 3))


@pytest.mark.slow
def test_monai_turn_and_flip_draw_what_the_literature_draws():
    image = torch.arange(9.0).reshape(1, 3, 3, 1)
    # The published augmentation, enumerated: four turns, then a flip along either axis.
    plane = image[0, :, :, 0].numpy()
    published = Counter(np.flip(np.rot90(plane, k), axis).tobytes() for k in range(4) for axis in (0, 1))
    chain = Compose([RandRotate90d("image", prob=0.75, max_k=3), Flipd("image", spatial_axis=0)])
    chain.set_random_state(seed=0)
    drawn = Counter(
        np.ascontiguousarray(chain({"image": image})["image"].numpy()[0, :, :, 0]).tobytes()
        for _ in range(800)
    )
    assert set(drawn) == set(published)
    assert set(published.values()) == {2}
    assert all(150 < count < 250 for count in drawn.values())
