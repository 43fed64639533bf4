"""On the left-atrium benchmark itself, where it lies beside the repository."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, NormalizeIntensityd, Spacingd

from medssl.data import LoadCased, build_datalist, read_split, validate_datalist
from tests.places import REAL

CASES = read_split("la").training[:3]

pytestmark = pytest.mark.real("data/la", "data/la_h5")


@pytest.fixture(scope="module")
def nifti():
    return build_datalist(REAL / "la", dataset="la", labeled=3)


@pytest.fixture(scope="module")
def hdf5():
    return build_datalist(
        REAL / "la_h5", dataset="la", labeled=3, allow_missing=True, require_unlabeled=False
    )


def test_both_folders_give_the_published_cases(nifti, hdf5):
    validate_datalist(nifti)
    validate_datalist(hdf5)
    assert (
        [item["case"] for item in nifti["training"]]
        == [item["case"] for item in hdf5["training"]]
        == list(CASES)
    )
    assert len(nifti["unlabeled"]) == 77


@pytest.mark.parametrize("index", range(3))
def test_nifti_and_hdf5_hold_the_same_volume(nifti, hdf5, index):
    load = Compose([LoadCased(["image", "label"], h5_spacing=0.625), NormalizeIntensityd("image")])
    from_nifti, from_hdf5 = (load(source["training"][index]) for source in (nifti, hdf5))
    assert torch.equal(from_nifti["label"].as_tensor(), from_hdf5["label"].as_tensor())
    assert torch.allclose(from_nifti["image"].as_tensor(), from_hdf5["image"].as_tensor(), atol=1e-5)
    np.testing.assert_allclose(from_nifti["image"].affine, from_hdf5["image"].affine)


def test_intensities_differ_by_an_affine_map_before_normalisation(nifti, hdf5):
    load = LoadCased("image")
    x, y = (load(source["training"][0])["image"].numpy().ravel() for source in (nifti, hdf5))
    slope, offset = np.polyfit(x, y, 1)
    assert slope > 0
    np.testing.assert_allclose(slope * x + offset, y, atol=1e-4)


def test_labels_stay_binary_at_half_resolution(nifti):
    chain = Compose(
        [
            LoadCased(["image", "label"]),
            Spacingd(["image", "label"], pixdim=(1.25,) * 3, mode=["bilinear", "nearest"]),
        ]
    )
    native = LoadCased("label")(nifti["training"][0])["label"]
    half = chain(nifti["training"][0])["label"]
    assert set(half.unique().tolist()) == {0, 1}
    volume, half_volume = float(native.sum()) * 0.625**3, float(half.sum()) * 1.25**3
    assert abs(half_volume / volume - 1) < 0.02
