import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data import H5Reader, SimpleITKReader


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
