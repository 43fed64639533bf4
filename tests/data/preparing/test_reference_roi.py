import json

import nibabel as nib
import numpy as np
import pytest
import torch

from medssl.common.errors import InputError
from medssl.data import CropToBoxd, LoadCased, add_reference_boxes, build_datalist
from medssl.data.preparing.reference_roi import reference_box


def published_box(mask, margin, min_size):
    """UA-MT's rule for the first two axes, with a fixed margin."""
    box = []
    for axis, values in enumerate(np.nonzero(mask)):
        if axis == 2:
            box.append([0, mask.shape[2]])
            continue
        low, high = values.min(), values.max() + 1
        side = margin + max(min_size[axis] - (high - low), 0) // 2
        box.append([int(max(low - side, 0)), int(min(high + side, mask.shape[axis]))])
    return box


@pytest.mark.parametrize("seed", range(5))
def test_box_equals_the_published_rule(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 50, 20), dtype=bool)
    a, b = sorted(rng.choice(60, 2, replace=False)), sorted(rng.choice(50, 2, replace=False))
    mask[a[0] : a[1], b[0] : b[1], 3:9] = True
    ours = reference_box(torch.from_numpy(mask), margin=3, min_size=(30, 30, 10), axes=(0, 1))
    assert ours == published_box(mask, 3, (30, 30, 10))


def test_margin_counts_voxels_of_the_given_grid():
    mask = torch.zeros(100, 100, 10, dtype=torch.bool)
    mask[40:60, 40:60, 2:4] = True
    # 0.5 mm stored, margin of 5 voxels of 1 mm: 10 stored voxels; extent 10 mm, minimum 14: 2 mm more.
    box = reference_box(mask, margin=5, min_size=(14, 14, 1), axes=(0, 1), grid=(2.0, 2.0, 1.0))
    assert box == [[26, 74], [26, 74], [0, 10]]


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(4):
        label = np.zeros((20, 18, 6), np.uint8)
        label[5 + i : 9 + i, 6:9, 2:4] = 1
        nib.save(nib.Nifti1Image(label.astype(np.float32), np.eye(4)), tmp_path / f"images/c{i}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / f"labels/c{i}.nii.gz")
    return tmp_path


def test_boxes_of_all_lists_without_a_label_in_unlabeled_items(folder):
    datalist = build_datalist(folder, dataset="phantom", labeled=1, validation=1, test=1)
    boxed = add_reference_boxes(datalist, margin_voxels=2, min_size=(4, 4, 4))
    assert boxed["unlabeled"][0]["roi"] == [[4, 12], [4, 11], [0, 6]]
    assert set(boxed["unlabeled"][0]) == {"case", "image", "roi"}
    assert all("roi" in boxed[key][0] for key in ("training", "validation", "test"))
    assert boxed["crop"] == "reference-roi"
    assert "uses the reference" in boxed["crop_note"]
    assert "crop" not in datalist
    assert "roi" not in datalist["training"][0]
    item = json.loads(json.dumps(boxed))["unlabeled"][0]
    cropped = CropToBoxd("image")(LoadCased("image")(item))["image"]
    assert cropped.shape == (1, 8, 7, 6)
    assert cropped.sum() == 24


def test_no_reference_or_an_empty_one_is_refused(folder):
    datalist = build_datalist(folder, dataset="phantom", labeled=1)
    with pytest.raises(InputError, match="case 'c1': has no reference label"):
        add_reference_boxes({**datalist, "hidden_labels": {}}, margin_voxels=2, min_size=(4, 4, 4))
    nib.save(nib.Nifti1Image(np.zeros((20, 18, 6), np.uint8), np.eye(4)), folder / "labels/c2.nii.gz")
    with pytest.raises(InputError, match="empty label"):
        add_reference_boxes(datalist, margin_voxels=2, min_size=(4, 4, 4))
    with pytest.raises(ValueError, match="margin_voxels"):
        add_reference_boxes(datalist, margin_voxels=-1, min_size=(4, 4, 4))


def test_unreadable_labels_of_unlabeled_cases_do_not_matter_without_boxes(folder):
    (folder / "labels/c2.nii.gz").write_bytes(b"broken")
    datalist = build_datalist(folder, dataset="phantom", labeled=1)
    load = LoadCased(["image", "label"])
    assert all("label" not in load(item) for item in datalist["unlabeled"])
