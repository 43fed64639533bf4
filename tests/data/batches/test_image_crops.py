"""The weak view against a resize of the whole image by torch and by Pillow."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from PIL import Image
from torch.nn.functional import interpolate

from medssl.common.errors import InputError
from medssl.data import WeakImageViewd, two_stream_loader
from medssl.data.batches.image_crops import CropDraw, view_of


def photograph(size=(36, 50), channels=3, seed=0):
    """Eight-bit noise in [0, 1], which is the hardest to interpolate."""
    drawn = np.random.default_rng(seed).integers(0, 256, (channels, *size), dtype=np.uint8)
    return torch.from_numpy(drawn).float() / 255


def whole(image, draw):
    return interpolate(image[None], draw.size, mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("seed", range(12))
def test_values_are_those_of_a_whole_resize_and_a_crop(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(3, 60, 2).tolist())
    image, label = photograph(size, seed=seed), torch.from_numpy(rng.integers(0, 20, (1, *size)))
    transform = WeakImageViewd((24, 31)).set_random_state(seed)
    for _ in range(10):
        draw = transform.draw(size)
        (row, column), (height, width) = draw.start, draw.size
        inside = (slice(None), slice(row, row + 24), slice(column, column + 31))
        view = view_of(image, draw, (24, 31), is_image=True)
        mask = view_of(label, draw, (24, 31), is_image=False)
        expected = whole(image, draw)[inside]
        nearest = interpolate(label[None].float(), draw.size, mode="nearest-exact")[0].long()[inside]
        if draw.flip:
            view, mask = view.flip(2), mask.flip(2)
        rows, columns = expected.shape[1:]
        torch.testing.assert_close(view[:, :rows, :columns], expected, atol=2e-5, rtol=0)
        assert torch.equal(mask[:, :rows, :columns], nearest)
        padding = torch.ones(24, 31, dtype=torch.bool)
        padding[:rows, :columns] = False
        assert not view[:, padding].any()
        assert (mask[:, padding] == 255).all()
        assert padding.any() == (height < 24 or width < 31)


@pytest.mark.parametrize("size", [(18, 25), (36, 50), (49, 71), (72, 100)])
def test_values_are_those_of_pillow_to_one_grey_level(size):
    image = photograph()
    pixels = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
    resized = np.asarray(pixels.resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    view = view_of(image, CropDraw(size, (0, 0), flip=False), size, is_image=True)
    assert np.abs(view.numpy() - resized).max() <= 1.01 / 255
    mask = Image.fromarray(np.random.default_rng(1).integers(0, 20, (36, 50), dtype=np.uint8))
    stored = torch.from_numpy(np.array(mask))[None]
    ours = view_of(stored, CropDraw(size, (0, 0), flip=False), size, is_image=False)
    np.testing.assert_array_equal(
        ours[0].numpy(), np.asarray(mask.resize(size[::-1], Image.Resampling.NEAREST))
    )


def test_draws_are_spread_as_published():
    transform = WeakImageViewd((20, 20)).set_random_state(0)
    draws = [transform.draw((30, 40)) for _ in range(4000)]
    lengths = np.array([draw.size[1] for draw in draws])
    assert lengths.min() == 20
    assert lengths.max() == 80
    assert abs(lengths.mean() - 50) < 1
    assert all(draw.size[0] == int(30 * draw.size[1] / 40 + 0.5) for draw in draws)
    assert abs(np.mean([draw.flip for draw in draws]) - 0.5) < 0.03
    # A crop starts anywhere between the first place and the last at which it fits.
    starts = np.array([draw.start[1] / (draw.size[1] - 20) for draw in draws if draw.size[1] > 60])
    assert starts.min() == 0
    assert starts.max() == 1
    assert abs(starts.mean() - 0.5) < 0.03


def test_image_and_label_move_alike_and_the_item_is_left_as_it_was():
    label = (torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)) > 0.5).to(torch.uint8)
    item = {"image": label.float().repeat(3, 1, 1), "label": label, "case": "a"}
    before = item["image"].clone()
    transform = WeakImageViewd((24, 24), scale_range=(1, 1)).set_random_state(3)
    for _ in range(5):
        view = transform(item)
        assert torch.equal(view["image"][0], view["label"][0].float())
        assert view["case"] == "a"
        view["image"].zero_()
    assert torch.equal(item["image"], before)
    same_size = WeakImageViewd((30, 40), scale_range=(1, 1), flip_probability=0)(item)
    assert torch.equal(same_size["image"], before)
    same_size["image"].zero_()
    assert torch.equal(item["image"], before)


def test_padding_of_unlabelled_rows_is_not_valid_and_other_black_is():
    cases = [{"image": torch.zeros(3, 10, 12), "label": torch.ones(1, 10, 12)}]
    cases += [{"image": torch.zeros(3, 10, 12)}] * 3
    loader = two_stream_loader(
        cases, num_labeled=1, labeled_per_batch=1, unlabeled_per_batch=3, valid=True,
        augmentation=Compose([WeakImageViewd((16, 16), scale_range=(0.5, 0.9), flip_probability=0)]),
    )  # fmt: skip
    batch = next(iter(loader))
    valid, labels = batch["valid"], batch["label"]
    for row in valid:
        rows, columns = row.any(1).sum(), row.any(0).sum()
        assert row[:rows, :columns].all()
        assert row.sum() == rows * columns
        assert 5 <= rows < 10
    assert set(labels.unique().tolist()) == {1, 255}


def test_same_seed_same_view():
    image = photograph()
    views = [WeakImageViewd((20, 20)).set_random_state(seed)({"image": image})["image"] for seed in (1, 1, 2)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


@pytest.mark.parametrize(
    "options",
    [
        {"patch_size": (8, 8, 8)},
        {"patch_size": (0, 8)},
        {"scale_range": (2, 0.5)},
        {"scale_range": (0, 1)},
        {"flip_probability": 1.5},
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(options):
    with pytest.raises(InputError) as refused:
        WeakImageViewd(**{"patch_size": (8, 8)} | options)
    assert "\n" not in str(refused.value)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"must be \(C, H, W\)"):
        WeakImageViewd((4, 4))({"image": torch.zeros(1, 4, 4, 4)})
    with pytest.raises(ValueError, match="not on the grid"):
        WeakImageViewd((4, 4))({"image": torch.zeros(1, 4, 4), "label": torch.zeros(1, 4, 5)})
