"""Back to the voxels of the scan."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    Flipd,
    Invertd,
    Orientationd,
    Rotate90d,
    Spacingd,
    SpatialPadd,
)
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medssl.inference import scan_grid
from medssl.inference.scan_grid import slabs_on_scan_grid

SHAPE = (30, 26, 18)


def oblique():
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (10, -5, 20), degrees=True).as_matrix()
    affine[:3, :3] = rotation @ np.diag([0.8, -1.1, 2.5])
    affine[:3, 3] = (3, -50, 7)
    return affine


def whole(values, **settings):
    parts = [(slab, part) for slab, part in slabs_on_scan_grid(values, **settings)]
    assert [slab.start for slab, _ in parts] == [0, *(slab.stop for slab, _ in parts[:-1])]
    return torch.cat([part for _, part in parts], 1)


PREPROCESSING = {
    "flip": [Flipd("image", spatial_axis=1)],
    "turn": [Rotate90d("image", k=1)],
    "orientation": [Orientationd("image", axcodes="RAS", labels=None)],
    "spacing": [Spacingd("image", pixdim=(1.25, 1.25, 1.25), mode="bilinear")],
    "coarse": [Spacingd("image", pixdim=(2.0, 1.7, 3.0), mode="bilinear")],
    "pad": [SpatialPadd("image", spatial_size=(40, 40, 40))],
    "all": [
        Orientationd("image", axcodes="PIR", labels=None),
        Spacingd("image", pixdim=(0.9, 1.4, 1.1), mode="bilinear"),
        SpatialPadd("image", spatial_size=(44, 40, 48)),
    ],
}


@pytest.mark.parametrize("name", PREPROCESSING)
@pytest.mark.parametrize("slab", [100, 10**9])
def test_equals_monais_inversion_step_by_step(monkeypatch, name, slab):
    monkeypatch.setattr(scan_grid, "SLAB_VOXELS", slab)
    affine = oblique()
    noise = np.random.default_rng(0).normal(size=SHAPE)
    image = MetaTensor(torch.from_numpy(ndimage.gaussian_filter(noise, 2)).float()[None], affine=affine)
    transform = Compose(PREPROCESSING[name])
    item = transform({"image": image})
    values = torch.stack([item["image"].as_tensor()[0], item["image"].as_tensor()[0] ** 2])
    restored = whole(
        values,
        network_affine=np.asarray(item["image"].affine),
        scan_affine=affine,
        shape=SHAPE,
        outside=(0, 0),
    )
    inverted = Invertd("pred", transform=transform, orig_keys="image", nearest_interp=False)(
        {**item, "pred": MetaTensor(values)}
    )["pred"]
    # At the border MONAI's inverse of a resampling sees padding.
    inside = (slice(None), *(slice(2, -2),) * 3)
    torch.testing.assert_close(restored[inside], inverted.as_tensor()[inside], atol=2e-5, rtol=0)


def test_beyond_a_crop_lies_what_was_said_to(monkeypatch):
    monkeypatch.setattr(scan_grid, "SLAB_VOXELS", 500)
    affine = oblique()
    image = torch.zeros(1, *SHAPE)
    image[:, 8:20, 5:21, 3:14] = torch.rand(1, 12, 16, 11) + 0.5
    crop = CropForegroundd("image", source_key="image")
    cropped = crop({"image": MetaTensor(image, affine=affine)})["image"]
    assert cropped.shape == (1, 12, 16, 11)
    restored = whole(
        cropped.as_tensor(),
        network_affine=np.asarray(cropped.affine),
        scan_affine=affine,
        shape=SHAPE,
        outside=(7,),
    )
    expected = torch.full((1, *SHAPE), 7.0)
    expected[:, 8:20, 5:21, 3:14] = image[:, 8:20, 5:21, 3:14]
    torch.testing.assert_close(restored, expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("first", "expected"), [(0, [1, 1.25, 1.5, 1.75, 2, 2, 2, 9]), (-0.75, [9, 1, 1, 1, 1.25])]
)
def test_up_to_half_a_voxel_beyond_the_grid_the_nearest_value_counts(first, expected):
    values = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    fine = np.diag([0.25, 1, 1, 1])  # scan voxels of a quarter of the network's, from its first centre on
    fine[0, 3] = first
    shape = (len(expected), 1, 1)
    restored = whole(values, network_affine=np.eye(4), scan_affine=fine, shape=shape, outside=(9,))
    assert restored.flatten().tolist() == expected
