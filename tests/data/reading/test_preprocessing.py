"""Preprocessing lists for the benchmarks, built by MONAI's config parser and run on small files."""

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import CacheDataset
from monai.transforms import Compose

from medssl.data import add_reference_boxes, build_datalist, two_stream_loader

LA = """
preprocessing:
- {_target_: medssl.data.LoadCased, keys: [image, label], h5_spacing: 0.625}
- {_target_: NormalizeIntensityd, keys: image}
"""

LA_125 = (
    LA
    + """
- {_target_: Spacingd, keys: [image, label], pixdim: [1.25, 1.25, 1.25], mode: [bilinear, nearest],
   allow_missing_keys: true}
"""
)

PANCREAS = """
preprocessing:
- {_target_: medssl.data.LoadCased, keys: [image, label]}
- {_target_: medssl.data.CropToBoxd, keys: [image, label]}
- {_target_: Spacingd, keys: [image, label], pixdim: [1.0, 1.0, 1.0], mode: [bilinear, nearest],
   allow_missing_keys: true}
- {_target_: ScaleIntensityRanged, keys: image, a_min: -125, a_max: 275, b_min: 0, b_max: 1, clip: true}
- {_target_: NormalizeIntensityd, keys: image}
"""

BRATS = """
preprocessing:
- {_target_: medssl.data.LoadCased, keys: [image, label]}
- {_target_: CropForegroundd, keys: [image, label], source_key: image, allow_missing_keys: true}
- {_target_: ClipIntensityPercentilesd, keys: image, lower: null, upper: 99.9}
- {_target_: medssl.data.NormalizeByForegroundd, keys: image}
- {_target_: AsDiscreted, keys: label, threshold: 0.5, allow_missing_keys: true}
"""

AUGMENTATION = """
augmentation:
  _target_: Compose
  transforms:
  - {_target_: SpatialPadd, keys: [image, label], spatial_size: [12, 12, 8], allow_missing_keys: true}
  - {_target_: RandSpatialCropd, keys: [image, label], roi_size: [12, 12, 8], random_size: false,
     allow_missing_keys: true}
  - {_target_: RandRotate90d, keys: [image, label], prob: 0.75, max_k: 3, allow_missing_keys: true}
  - {_target_: Flipd, keys: [image, label], spatial_axis: 0, allow_missing_keys: true}
"""

SHAPE, SPACING = (24, 20, 10), (0.5, 0.5, 2.0)


def volumes(index):
    """A brain-like volume (zero outside a box), its three-part tumour, and the box."""
    rng = np.random.default_rng(index)
    image = np.zeros(SHAPE, np.float32)
    image[2:22, 3:18, 1:9] = rng.gamma(4.0, 20.0, (20, 15, 8))
    label = np.zeros(SHAPE, np.uint8)
    label[8:14, 7:13, 3:6] = 4
    label[10:12, 9:11, 4] = 1
    return image, label


@pytest.fixture
def datalist(tmp_path):
    affine = np.diag([*SPACING, 1.0])
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(5):
        image, label = volumes(i)
        nib.save(nib.Nifti1Image(image, affine), tmp_path / f"images/c{i}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), tmp_path / f"labels/c{i}.nii.gz")
    return build_datalist(tmp_path, dataset="phantom", labeled=2)


def parse(text, key):
    parser = ConfigParser(yaml.safe_load(text))
    return parser.get_parsed_content(key)


def apply(text, item):
    return Compose(parse(text, "preprocessing"))(item)


def test_la_is_a_whole_volume_z_score_on_the_native_grid(datalist):
    item = apply(LA, datalist["training"][0])
    image, label = volumes(0)
    expected = (image - image.mean()) / image.std()
    np.testing.assert_allclose(item["image"][0].numpy(), expected, atol=1e-4)
    np.testing.assert_array_equal(item["label"][0].numpy(), label)


def test_la_resampled_keeps_labels_whole(datalist):
    item = apply(LA_125, datalist["training"][0])
    np.testing.assert_allclose(item["image"].affine.diagonal()[:3], 1.25)
    # MONAI keeps the centres of the first voxels: round((size - 1) * spacing / 1.25 + 1).
    assert item["image"].shape == item["label"].shape == (1, 10, 9, 15)
    assert set(item["label"].unique().tolist()) <= {0, 1, 4}


def test_pancreas_is_cropped_resampled_windowed_and_normalised(datalist):
    boxed = add_reference_boxes(datalist, margin_voxels=1, min_size=(4, 4, 4), spacing=1.0)
    for item in (boxed["training"][0], boxed["unlabeled"][0]):
        # Extent 6 x 6 stored voxels (3 mm) and 1 mm on each side: 10 stored voxels,
        # (10 - 1) * 0.5 + 1 = 5.5 at 1 mm.
        result = apply(PANCREAS, item)
        assert result["image"].shape[1:3] == (6, 6)
        assert abs(float(result["image"].mean())) < 1e-4
        assert abs(float(result["image"].std(correction=0)) - 1) < 1e-3


def test_brats_equals_the_published_steps(datalist):
    item = apply(BRATS, datalist["training"][1])
    image, label = (volume[2:22, 3:18, 1:9] for volume in volumes(1))
    clipped = np.minimum(image, np.percentile(image, 99.9))
    expected = (clipped - clipped[clipped > 0].mean()) / clipped[clipped > 0].std()
    np.testing.assert_allclose(item["image"][0].numpy(), expected, atol=1e-3)
    np.testing.assert_array_equal(item["label"][0].numpy(), label > 0)


@pytest.mark.parametrize("text", [LA, LA_125, PANCREAS, BRATS])
def test_every_list_feeds_the_loader_and_works_without_a_label(datalist, text):
    items = datalist["training"] + datalist["unlabeled"]
    cached = CacheDataset(items, Compose(parse(text, "preprocessing")), num_workers=2, progress=False)
    loader = two_stream_loader(cached, num_labeled=2, augmentation=parse(AUGMENTATION, "augmentation"))
    batch = next(iter(loader))
    assert batch["label"].shape == (2, 12, 12, 8)
    for images in (batch["image"], batch["unlabeled"]["weak"]):
        assert images.shape == (2, 1, 12, 12, 8)
        assert torch.isfinite(images).all()


def test_prediction_goes_back_to_the_stored_grid(datalist):
    boxed = add_reference_boxes(datalist, margin_voxels=1, min_size=(4, 4, 4), spacing=1.0)
    chain = Compose(parse(PANCREAS, "preprocessing"))
    restored = chain.inverse(
        {"label": chain(boxed["training"][0])["label"], "roi": boxed["training"][0]["roi"]}
    )
    assert restored["label"].shape == (1, *SHAPE)
    np.testing.assert_allclose(restored["label"].affine.diagonal()[:3], SPACING)
