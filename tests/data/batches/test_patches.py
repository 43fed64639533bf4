import numpy as np
import pytest
import torch
from monai.transforms import RandSpatialCropd

from medssl.common.errors import InputError
from medssl.data import SeededDataset, random_patch

SIDES = (8, 8, 8)


def corner_case():
    """A case whose only foreground voxel lies in a corner, where few patches reach."""
    label = torch.zeros(1, 32, 32, 32)
    label[0, 1, 1, 1] = 1
    return {"image": torch.rand(1, 32, 32, 32), "label": label}


def shows_class(share, *, labeled=True, draws=60):
    case = corner_case()
    if not labeled:
        del case["label"]
    rows = SeededDataset(
        [case], random_patch(SIDES, num_classes=2, oversampled=share), views=("weak",), valid=not labeled
    )
    return rows, draws


def test_a_rare_class_is_shown_as_often_as_asked_for():
    rows, draws = shows_class(0.5)
    shown = [bool((rows[(0, seed)]["label"] == 1).any()) for seed in range(draws)]
    assert 0.3 <= np.mean(shown) <= 0.7
    rows, draws = shows_class(0.0)
    assert np.mean([bool((rows[(0, seed)]["label"] == 1).any()) for seed in range(draws)]) < 0.1


def test_an_unlabelled_case_is_drawn_as_without_oversampling_even_where_padding_is_mapped():
    plain, _ = shows_class(0.0, labeled=False)
    rows, draws = shows_class(1.0, labeled=False)
    crop = random_patch(SIDES, num_classes=2, oversampled=1.0)
    corners = []
    for seed in range(draws):
        crop.set_random_state(seed=seed)
        item = {"image": torch.arange(32.0**3).reshape(1, 32, 32, 32), "label": torch.ones(1, 32, 32, 32)}
        corners.append(float(crop({**item, "is_labeled": False})["image"][0, 0, 0, 0]))
    assert len(set(corners)) > draws // 2
    assert "label" not in rows[(0, 0)]
    assert rows[(0, 0)]["weak"].shape == plain[(0, 0)]["weak"].shape == (1, *SIDES)
    # Anywhere, the first voxel is uniform over 25 places an axis; around classes the ends would be likelier.
    first = [corner // 1024 for corner in corners]
    assert min(first) <= 4
    assert max(first) >= 20


def test_the_same_seed_draws_the_same_patch():
    rows, _ = shows_class(0.5)
    for seed in range(5):
        assert torch.equal(rows[(0, seed)]["image"], rows[(0, seed)]["image"])


def test_without_oversampling_it_is_monais_crop_draw_by_draw():
    assert isinstance(random_patch(SIDES, num_classes=2), RandSpatialCropd)


def test_a_label_without_foreground_is_cropped_anywhere():
    crop = random_patch(SIDES, num_classes=3, oversampled=1.0)
    crop.set_random_state(seed=0)
    empty = {"image": torch.rand(1, 16, 16, 16), "label": torch.zeros(1, 16, 16, 16), "is_labeled": True}
    assert crop(empty)["label"].shape == (1, *SIDES)
    ignored = {**empty, "label": torch.full((1, 16, 16, 16), 255.0)}
    assert crop(ignored)["label"].shape == (1, *SIDES)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_no_share_is_refused(share):
    with pytest.raises(InputError, match="is no share"):
        random_patch(SIDES, num_classes=2, oversampled=share)


def test_further_maps_behind_the_label_are_cropped_with_it():
    case = corner_case()
    item = {
        "image": case["image"],
        "label": torch.cat([case["label"], 7 * case["label"]]),
        "is_labeled": True,
    }
    crop = random_patch(SIDES, num_classes=2, oversampled=1.0)
    crop.set_random_state(seed=0)
    cropped = crop(item)
    assert set(cropped) == set(item)
    assert cropped["label"].shape == (2, *SIDES)
    assert cropped["label"][0].max() == 1
    assert torch.equal(cropped["label"][1], 7 * cropped["label"][0])
