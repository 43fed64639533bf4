"""Storage order cannot change what a network sees."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import CropForegroundd, NormalizeIntensityd, Orientationd, Spacingd

from medssl.common.errors import InputError
from medssl.data import CropToBoxd, LoadCased, Orientd, preprocessing
from medssl.data.reading.orientation import parse_orientation, scan_grid, storage_order
from tests.data.storage import ORDERS, stored, stored_affine
from tests.review.scans import AFFINES, affine, body

SPACING = (0.8, 1.1, 2.5)
SHAPE = (22, 18, 13)
DOUBLY_OBLIQUE = affine(SPACING, flips=(-1, 1, -1), degrees=(44, -38, 41))
GEOMETRIES = AFFINES | {"upright": affine(SPACING)}
GEOMETRIES["doubly oblique"] = DOUBLY_OBLIQUE


def write(path, values, affine, order):
    nib.save(nib.Nifti1Image(stored(values, order), stored_affine(affine, values.shape, order)), path)
    return str(path)


def steps():
    keys = ["image", "label"]
    return [
        LoadCased(keys),
        CropForegroundd(keys, source_key="image"),
        Spacingd(keys, pixdim=(1.2, 1.6, 1.3), mode=("bilinear", "nearest")),
        NormalizeIntensityd("image"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_storage_order_gives_the_network_the_same_bits(tmp_path, name):
    values = body(SHAPE, SPACING)
    label = (values > 0.5).astype(np.uint8)
    transform = preprocessing(steps(), "RAS")
    seen = []
    for order in ORDERS:
        item = {
            "image": write(tmp_path / "image.nii", values, GEOMETRIES[name], order),
            "label": write(tmp_path / "label.nii", label, GEOMETRIES[name], order),
        }
        oriented = transform(item)
        image, ids = oriented["image"], oriented["label"]
        seen.append((image.as_tensor(), ids.as_tensor(), image.affine))
    assert seen[0][1].any()
    for image, ids, image_affine in seen[1:]:
        assert torch.equal(image, seen[0][0])
        assert torch.equal(ids, seen[0][1])
        assert torch.equal(image_affine, seen[0][2])


@pytest.mark.parametrize("letters", ["RAS", "LPI", "PIR", "SLA"])
def test_orientation_is_monais(tmp_path, letters):
    values = body(SHAPE, SPACING)
    for name in ("permuted", "oblique"):
        path = write(tmp_path / "image.nii", values, AFFINES[name], ORDERS[29])
        loaded = LoadCased("image")({"image": path})
        ours = Orientd("image", orientation=letters)(loaded)["image"]
        monai_image = Orientationd("image", axcodes=letters, labels=None)(loaded)["image"]
        assert torch.equal(ours.as_tensor(), monai_image.as_tensor())
        np.testing.assert_allclose(ours.pixdim, monai_image.pixdim, rtol=1e-5)


def test_a_label_follows_its_image_though_its_own_affine_says_otherwise(tmp_path):
    """At 45 degrees the last digit of an affine decides which axis is which."""
    values = body(SHAPE, (1, 1, 1))
    pair = [affine((1, 1, 1), degrees=(0, 0, degrees)) for degrees in (44.99, 45.01)]
    assert storage_order(pair[0], "RAS") != storage_order(pair[1], "RAS")
    item = {
        "image": write(tmp_path / "image.nii", values, pair[0], ORDERS[0]),
        "label": write(tmp_path / "label.nii", (values > 0.5).astype(np.uint8), pair[1], ORDERS[0]),
    }
    preprocessed = preprocessing([LoadCased(["image", "label"])])(item)
    assert torch.equal(preprocessed["label"].bool(), preprocessed["image"] > 0.5)
    assert torch.equal(preprocessed["label"].affine, preprocessed["image"].affine)


def test_a_box_in_voxels_of_the_file_is_cut_out_before(tmp_path):
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    order = ((2, 0, 1), (True, False, True))
    path = write(tmp_path / "image.nii", values, AFFINES["upright"], order)
    box = [[1, 9], [2, 20], [3, 18]]  # of the stored array of 13 x 22 x 18
    transform = preprocessing([LoadCased("image"), CropToBoxd("image"), NormalizeIntensityd("image")])
    assert [type(step).__name__ for step in transform.transforms][:3] == [
        "LoadCased",
        "CropToBoxd",
        "Orientd",
    ]
    image = transform({"image": path, "roi": box})["image"]
    in_file = stored(np.arange(values.size).reshape(SHAPE), order)
    grid = scan_grid(image)
    uncropped = grid.order.oriented(in_file)
    assert grid.shape == uncropped.shape == SHAPE
    first = np.rint(np.linalg.inv(grid.affine) @ [0, 0, 0, 1])[:3].astype(int)
    cut = uncropped[tuple(slice(a, a + n) for a, n in zip(first, image.shape[1:], strict=True))]
    assert sorted(cut.flatten()) == sorted(in_file[tuple(slice(a, b) for a, b in box)].flatten())


def test_what_moved_before_is_refused(tmp_path):
    path = write(tmp_path / "image.nii", body(SHAPE, SPACING), AFFINES["upright"], ORDERS[0])
    resampled = Spacingd("image", pixdim=(2, 2, 2))(LoadCased("image")({"image": path}))
    with pytest.raises(ValueError, match="before all that resamples"):
        Orientd("image", orientation="RAS")(resampled)


def test_no_orientation_keeps_every_scans_own(tmp_path):
    values = body(SHAPE, SPACING)
    path = write(tmp_path / "image.nii", values, AFFINES["oblique"], ORDERS[29])
    assert np.array_equal(
        preprocessing([LoadCased("image"), None], None)({"image": path})["image"][0].numpy(),
        stored(values, ORDERS[29]),
    )
    assert [parse_orientation(v) for v in (None, "null", "None", "ras")] == [None, None, None, "RAS"]


@pytest.mark.parametrize("letters", ["RA", "RAA", "RAX", "RLS", ""])
def test_what_is_no_orientation_is_refused(letters):
    with pytest.raises(InputError, match="not one letter each"):
        preprocessing([], letters)
