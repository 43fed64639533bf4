"""A scan stored in another order, or in another kind of file, is predicted alike, bit for bit."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.transforms import CropForegroundd, NormalizeIntensityd, Spacingd

from medssl.data import LoadCased, preprocessing
from medssl.inference.deployable import deployable
from medssl.inference.predictor import Predictor
from medssl.networks import DualDecoderVNet
from medssl.review.voxel_maps import VOXEL_MAPS
from tests.data.dicom import itk_image, write_multi_frame, write_series
from tests.data.storage import ORDERS, restored, stored, stored_affine
from tests.review.scans import affine, body

SPACING, SHAPE = (0.8, 1.1, 2.5), (22, 18, 13)
GEOMETRIES = {
    "upright": affine(SPACING),
    "oblique": affine(SPACING, flips=(-1, 1, -1), degrees=(12, -21, 34)),
    "doubly oblique": affine(SPACING, flips=(1, -1, -1), axes=(2, 0, 1), degrees=(40, -33, 38)),
}


def make_predictor():
    """Random weights, with batch norms that have seen noise: without, every voxel is of one class."""
    torch.manual_seed(0)
    network = DualDecoderVNet(num_classes=3, width=2)
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(2, 1, 16, 16, 16))
        for decoder in (network.decoder1, network.decoder2):
            decoder.classifier.bias.zero_()
    return Predictor(
        [deployable(network)],
        num_classes=3,
        patch=(16, 16, 16),
        stride=(8, 8, 8),
        uncertainty="dual-axis",
        keep_probabilities=True,
    )


def transform(orientation="RAS", spacing=(1.2, 1.0, 1.4)):
    steps = [LoadCased("image"), CropForegroundd("image", source_key="image")]
    if spacing:
        steps.append(Spacingd("image", pixdim=spacing, mode="bilinear"))
    return preprocessing([*steps, NormalizeIntensityd("image")], orientation)


def maps_of(prediction, order):
    """All maps in the order of the scan; bands are of promises, which this model does not make."""
    kinds = [kind for kind in VOXEL_MAPS if kind.name not in ("probability", "band")]
    maps = {kind.name: restored(kind.values(prediction), order) for kind in kinds}
    return maps | {k: restored(values, order) for k, values in enumerate(prediction.probabilities)}


def predicted(folder, values, affine, order, steps, predictor):
    path = folder / "scan.nii"
    nib.save(nib.Nifti1Image(stored(values, order), stored_affine(affine, SHAPE, order)), path)
    prediction = predictor(steps({"image": str(path)})["image"])
    assert prediction.labels.shape == stored(values, order).shape
    return maps_of(prediction, order), prediction.soft_overlap


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [None, (1.2, 1.0, 1.4)])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_all_48_storage_orders_give_the_same_voxels_in_world_space(tmp_path, name, spacing):
    values, predictor, steps = body(SHAPE, SPACING), make_predictor(), transform(spacing=spacing)
    first, overlap = predicted(tmp_path, values, GEOMETRIES[name], ORDERS[0], steps, predictor)
    assert len(np.unique(first["segmentation"])) == 3  # there is something to differ
    for order in ORDERS[1:]:
        maps, other = predicted(tmp_path, values, GEOMETRIES[name], order, steps, predictor)
        for key, array in first.items():
            np.testing.assert_array_equal(maps[key], array)
        assert other == overlap


def test_without_an_orientation_the_storage_order_counts(tmp_path):
    values, predictor, steps = body(SHAPE, SPACING), make_predictor(), transform(orientation=None)
    label_maps = [
        predicted(tmp_path, values, GEOMETRIES["upright"], order, steps, predictor)[0]["segmentation"]
        for order in (ORDERS[0], ORDERS[-1])
    ]
    assert not np.array_equal(*label_maps)


@pytest.mark.parametrize("orientation", ["RAS", "ALI"])
def test_a_way_back_without_resampling_moves_no_bit(tmp_path, orientation):
    """The network hands on what it sees: what comes back is the scan."""

    class Same(torch.nn.Module):
        def forward(self, x):
            return torch.cat([torch.zeros_like(x), x], 1)

    values = body(SHAPE, SPACING)
    predictor = Predictor([Same()], num_classes=2, patch=(16,) * 3, stride=(16,) * 3, keep_probabilities=True)
    for order in ORDERS:
        path = tmp_path / "scan.nii"
        affine = stored_affine(GEOMETRIES["doubly oblique"], SHAPE, order)
        nib.save(nib.Nifti1Image(stored(values, order), affine), path)
        prediction = predictor(
            preprocessing([LoadCased("image")], orientation)({"image": str(path)})["image"]
        )
        expected = torch.softmax(torch.from_numpy(np.stack([0 * values, values])), 0)[1].numpy()
        foreground = restored(prediction.probabilities[1], order)
        # Windows that overlap are averaged, which rounds; the order of the voxels is exact.
        np.testing.assert_allclose(foreground, expected, atol=3e-7)
        if order == ORDERS[0]:
            first = foreground
        np.testing.assert_array_equal(foreground, first)


def test_a_dicom_series_is_predicted_alike_as_files_and_as_frames(tmp_path):
    pytest.importorskip("pydicom")
    turn = np.asarray(sitk.VersorTransform((1.0, 2.0, -1.0), 0.4).GetMatrix()).reshape(3, 3)
    values = np.round(body(SHAPE, SPACING) * 2000 - 1000).astype(np.int16)
    image = itk_image(values, spacing=SPACING, direction=turn, origin=(10.0, -20.0, 30.0))
    write_series(tmp_path / "series", image)
    write_multi_frame(tmp_path / "frames", image, order=[*range(12, 5, -1), *range(6)])
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    predictor, steps = make_predictor(), transform()
    series, frames, nifti = (
        predictor(steps({"image": str(tmp_path / name)})["image"])
        for name in ("series", "frames", "scan.nii.gz")
    )
    first = maps_of(series, ORDERS[0])
    assert len(np.unique(first["segmentation"])) == 3
    for other in (frames, nifti):
        for key, array in maps_of(other, ORDERS[0]).items():
            np.testing.assert_array_equal(array, first[key])
