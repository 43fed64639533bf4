import sys

import numpy as np
import pytest
import SimpleITK as sitk

from medssl.common.errors import InputError
from medssl.data import DicomSeriesReader, H5Reader, LoadCased, SimpleITKReader
from medssl.data.reading.formats import NIFTI
from tests.data.dicom import itk_image, write_multi_frame, write_series


def test_affine_maps_voxels_to_the_points_that_simpleitk_maps_them_to(tmp_path):
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(5, 4, 3))
    turn = sitk.VersorTransform((1.0, 2.0, -1.0), 0.4)
    image.SetDirection(turn.GetMatrix())
    image.SetSpacing((0.5, 1.5, 3.0))
    image.SetOrigin((10.0, -20.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "oblique.mha"))
    reader = SimpleITKReader()
    array, meta = reader.get_data(reader.read(str(tmp_path / "oblique.mha")))
    for index in ((0, 0, 0), (2, 3, 4), (1, 0, 3)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((meta["affine"] @ [*index, 1])[:3], [-x, -y, z], atol=1e-6)
        assert array[index] == image[index]


def test_suffixes():
    assert SimpleITKReader().verify_suffix(["a.NRRD", "b.mha"])
    assert not SimpleITKReader().verify_suffix("a.nii.gz")
    assert H5Reader().verify_suffix("a.h5")


def test_channels_must_share_a_grid(tmp_path):
    for name, shape, spacing in (("a", (4, 4, 4), 1.0), ("b", (4, 4, 3), 1.0), ("c", (4, 4, 4), 2.0)):
        image = sitk.GetImageFromArray(np.zeros(shape, np.float32))
        image.SetSpacing((spacing,) * 3)
        sitk.WriteImage(image, str(tmp_path / f"{name}.mha"))
    reader = SimpleITKReader()
    for other, message in (("b", "shapes"), ("c", "affines")):
        with pytest.raises(ValueError, match=message):
            reader.get_data(reader.read([tmp_path / "a.mha", tmp_path / f"{other}.mha"]))


@pytest.mark.parametrize("spacing", [0, -1.0, (1, 1, float("nan"))])
def test_h5_spacing_must_be_positive(spacing):
    with pytest.raises(ValueError, match="positive millimetres"):
        H5Reader(spacing=spacing)


OBLIQUE = np.asarray(sitk.VersorTransform((1.0, 2.0, -1.0), 0.4).GetMatrix()).reshape(3, 3)
FLIPPED = np.diag([-1.0, 1.0, -1.0])
HU = np.random.default_rng(0).integers(-1000, 1500, (7, 6, 5)).astype(np.int16)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, FLIPPED, -np.eye(3)[:, [1, 0, 2]]])
def test_dicom_series_holds_the_voxels_and_the_points_that_were_written(tmp_path, direction):
    image = itk_image(HU, spacing=(0.7, 0.9, 2.5), direction=direction, origin=(10.0, -20.0, 30.0))
    write_series(tmp_path / "series", image)
    loaded = LoadCased("image")({"image": str(tmp_path / "series")})["image"]
    sitk.WriteImage(image, str(tmp_path / "twin.nii.gz"))
    twin = LoadCased("image")({"image": str(tmp_path / "twin.nii.gz")})["image"]
    assert loaded.shape == twin.shape == (1, 7, 6, 5)
    # GDCM orders the slices along their normal, so that a left-handed stack may come out reversed.
    to_twin = np.linalg.inv(twin.affine.numpy()) @ loaded.affine.numpy()
    for index in np.ndindex(7, 6, 5):
        twin_index = tuple(np.rint(to_twin @ [*index, 1])[:3].astype(int))
        assert loaded[0][index] == twin[0][twin_index] == HU[twin_index]


def test_dicom_series_equals_the_dataset_that_pydicom_reads(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    write_series(tmp_path / "series", itk_image(HU, spacing=(0.7, 0.9, 2.5)))
    volume = DicomSeriesReader().volume(tmp_path / "series").array
    for path in (tmp_path / "series").iterdir():
        slice_ = pydicom.dcmread(path)
        stored = slice_.pixel_array * slice_.RescaleSlope + slice_.RescaleIntercept
        np.testing.assert_array_equal(volume[:, :, slice_.InstanceNumber - 1], stored.T)


def test_irregular_dicom_folders_are_named(tmp_path):
    image = itk_image(HU, spacing=(1.0, 1.0, 2.5))
    write_series(tmp_path / "gap", image, skip=(2,))
    write_series(tmp_path / "two", image)
    write_series(tmp_path / "two" / "b", image, series="1.2.826.2")
    for path in (tmp_path / "two" / "b").iterdir():
        path.rename(tmp_path / "two" / f"b_{path.name}")
    write_series(tmp_path / "twice", image)
    write_series(tmp_path / "twice" / "b", image, skip=(0, 1, 2, 3))
    for path in (tmp_path / "twice" / "b").glob("*.dcm"):
        path.rename(tmp_path / "twice" / f"b_{path.name}")
    (tmp_path / "none").mkdir()
    faults = {
        "gap": "unevenly spaced DICOM slices .5 mm after .* 2.5 mm elsewhere",
        "two": "holds 2 DICOM series",
        "twice": "unevenly spaced DICOM slices .0 mm after",
        "none": "is a folder without a DICOM series",
    }
    for name, fault in faults.items():
        with pytest.raises(InputError, match=fault) as caught:
            LoadCased("image")({"image": str(tmp_path / name)})
        assert caught.value.where == str(tmp_path / name)


@pytest.mark.parametrize("shared_rescale", [True, False])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE])
def test_frames_of_one_file_are_the_slices_of_a_series(tmp_path, direction, order, shared_rescale):
    pytest.importorskip("pydicom")
    image = itk_image(HU, spacing=(0.7, 0.9, 2.5), direction=direction, origin=(10.0, -20.0, 30.0))
    write_series(tmp_path / "series", image)
    write_multi_frame(tmp_path / "frames", image, order=order, shared_rescale=shared_rescale)
    series, frames = (LoadCased("image")({"image": str(tmp_path / n)})["image"] for n in ("series", "frames"))
    np.testing.assert_array_equal(frames.numpy(), series.numpy())
    np.testing.assert_allclose(frames.affine, series.affine, atol=1e-5)


def test_irregular_multi_frame_files_are_named(tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    image = itk_image(HU, spacing=(1.0, 1.0, 2.5))
    write_multi_frame(tmp_path / "gap", image, skip=(2,))
    write_multi_frame(tmp_path / "rescaled", image, slopes=[1, 1, 2, 1, 1], shared_rescale=False)
    write_multi_frame(tmp_path / "nowhere", image)
    dataset = pydicom.dcmread(tmp_path / "nowhere" / "frames.dcm")
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    dataset.save_as(tmp_path / "nowhere" / "frames.dcm")
    faults = {
        "gap": "unevenly spaced DICOM slices .5 mm after frame 2, 2.5 mm elsewhere",
        "rescaled": "frames of different orientation, spacing or rescaling",
        "nowhere": "frames do not say where they lie",
    }
    for name, fault in faults.items():
        with pytest.raises(InputError, match=fault):
            LoadCased("image")({"image": str(tmp_path / name)})
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match="pydicom is needed"):
        LoadCased("image")({"image": str(tmp_path / "gap")})


@pytest.mark.parametrize("suffix", [*NIFTI.suffixes, *SimpleITKReader.suffixes])
@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, FLIPPED])
def test_every_format_comes_back_with_its_voxels_and_its_affine(tmp_path, suffix, direction):
    spacing, origin = (0.7, 0.9, 2.5), (10.0, -20.0, 30.0)
    label = (HU % 5).astype(np.uint8)
    item = {}
    for key, array in (("image", HU), ("label", label)):
        item[key] = str(tmp_path / f"{key}{suffix}")
        sitk.WriteImage(itk_image(array, spacing=spacing, direction=direction, origin=origin), item[key])
    loaded = LoadCased(["image", "label"])(item)
    np.testing.assert_array_equal(loaded["image"][0].numpy(), HU)
    np.testing.assert_array_equal(loaded["label"][0].numpy(), label)
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = direction * np.asarray(spacing), origin
    for key in ("image", "label"):
        np.testing.assert_allclose(loaded[key].affine, np.diag([-1, -1, 1, 1]) @ lps, atol=1e-5)
