import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data import LoadCased, build_datalist
from tests.data.dicom import itk_image, write_series
from tests.scripts.load import script

prepare = script("prepare_pancreas_ct")
SPACING = (0.8, 0.8, 2.5)
SHAPE = (20, 24, 9)
RNG = np.random.default_rng(0)
OBLIQUE = np.asarray(sitk.VersorTransform((1.0, 2.0, -1.0), 0.3).GetMatrix()).reshape(3, 3)
ORIGIN = (-90.0, 12.0, -300.0)


def scan():
    """A smooth CT with a bright ball, which the label marks."""
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    distance = np.sqrt((x - 7) ** 2 + (y - 12) ** 2 + (z - 9) ** 2)
    hu = 60 * x - 30 * y + 10 * z - 400
    return hu.round().astype(np.int16), (distance < 5).astype(np.uint8)


def archive(folder, *, numbers=(1,), direction=OBLIQUE, flip=(1,), shift=0.0, crop=None):
    """The archive's tree; labels are stored with some axes reversed, as the archive has them."""
    hu, mask = scan()
    for number in numbers:
        image = itk_image(hu, spacing=SPACING, direction=direction, origin=ORIGIN)
        write_series(folder / "dicom" / f"PANCREAS_{number:04d}" / "11-24-2015" / "series", image)
        label = itk_image(mask, spacing=SPACING, direction=direction, origin=ORIGIN)
        nifti_path = folder / "labels" / f"label{number:04d}.nii.gz"
        nifti_path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(label, str(nifti_path))
        stored = nib.load(nifti_path)
        array, affine = np.asarray(stored.dataobj), stored.affine
        for axis in flip:
            turn = np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1, array.shape[axis] - 1
            array, affine = np.flip(array, axis), affine @ turn
        affine[:3, 3] += shift
        array = array if crop is None else array[crop]
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), nifti_path)
    return folder / "dicom", folder / "labels"


def run(folder, *options):
    return prepare.main([str(folder / "dicom"), str(folder / "labels"), str(folder / "out"), *options])


@pytest.mark.parametrize("flip", [(), (1,), (0, 1), (2,)])
def test_scan_and_label_agree_in_world_space_however_the_label_is_stored(tmp_path, flip):
    archive(tmp_path, flip=flip)
    assert run(tmp_path) == 0
    paths = {key: str(tmp_path / "out" / f"{key}s" / "image0001.nii.gz") for key in ("image", "label")}
    item = LoadCased(["image", "label"])(paths)
    image, label = item["image"], item["label"]
    assert tuple(image.shape[1:]) == tuple(label.shape[1:]) == (16, 19, 22)
    np.testing.assert_allclose(image.pixdim, [1, 1, 1], atol=1e-5)
    # Every voxel holds what the scan holds at the same point of the world.
    hu, mask = scan()
    source = itk_image(hu.astype(np.float32), spacing=SPACING, direction=OBLIQUE, origin=ORIGIN)
    reference = itk_image(mask, spacing=SPACING, direction=OBLIQUE, origin=ORIGIN)
    checked = 0
    for index in RNG.integers(0, image.shape[1:], size=(300, 3)):
        x, y, z = (image.affine.numpy() @ [*index, 1])[:3]
        point = (-x, -y, z)
        inside = source.TransformPhysicalPointToContinuousIndex(point)
        if all(1 <= i <= n - 2 for i, n in zip(inside, SHAPE, strict=True)):
            expected = np.clip(source.EvaluateAtPhysicalPoint(point), -125, 275)
            assert abs(float(image[0][tuple(index)]) - expected) <= 4  # the ramp rises by 67 units a mm
            if np.abs(np.asarray(inside) % 1 - 0.5).min() > 0.05:  # of two equally near voxels either will do
                nearest = reference.TransformPhysicalPointToIndex(point)
                assert float(label[0][tuple(index)]) == reference[nearest]
                checked += 1
    assert checked > 100
    assert label.sum() * 1.0 == pytest.approx(mask.sum() * np.prod(SPACING), rel=0.05)


def test_window_units_and_names_are_those_of_the_published_split(tmp_path):
    archive(tmp_path, numbers=(2, 25))
    assert run(tmp_path) == 0
    out = tmp_path / "out"
    stored = nib.load(out / "images" / "image0025.nii.gz")
    values = np.asarray(stored.dataobj)
    assert values.dtype == np.int16
    assert (values.min(), values.max()) == (-125, 275)
    record = json.loads((out / "dataset.json").read_text())
    assert record["cases"] == ["image0002", "image0025"]
    assert record["classes"] == ["background", "pancreas"]
    part = build_datalist(out, dataset="pancreas_ct", labeled=1, allow_missing=True, require_unlabeled=False)
    assert [item["case"] for item in part["training"]] == ["image0002"]
    assert [item["case"] for item in part["test"]] == ["image0025"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"shift": 4.0}, "lies elsewhere"),
        ({"crop": np.s_[:, :, :-1]}, "20 x 24 x 8 voxels, its image 20 x 24 x 9"),
    ],
)
def test_a_label_that_does_not_lie_on_its_scan_fails_alone(tmp_path, capsys, fault, message):
    archive(tmp_path, numbers=(1,), **fault)
    archive(tmp_path, numbers=(2,))
    assert run(tmp_path) == 1
    captured = capsys.readouterr()
    assert "1 cases written" in captured.out
    assert "failed: image0001" in captured.err
    assert message in captured.err
    assert not (tmp_path / "out" / "images" / "image0001.nii.gz").exists()
    assert (tmp_path / "out" / "images" / "image0002.nii.gz").exists()


def test_an_origin_that_the_header_lacks_can_be_ignored(tmp_path):
    archive(tmp_path, shift=4.0)
    assert run(tmp_path, "--ignore-label-origin") == 0
    archive(tmp_path / "right")
    assert run(tmp_path / "right") == 0
    shifted, aligned = (
        np.asarray(nib.load(folder / "out" / "labels" / "image0001.nii.gz").dataobj)
        for folder in (tmp_path, tmp_path / "right")
    )
    np.testing.assert_array_equal(shifted, aligned)


def test_a_label_turned_by_no_quarter_turn_is_refused(tmp_path, capsys):
    archive(tmp_path)
    path = tmp_path / "labels" / "label0001.nii.gz"
    stored = nib.load(path)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj), turn @ stored.affine), path)
    assert run(tmp_path) == 1
    assert "no quarter turn" in capsys.readouterr().err


def test_a_lost_slice_and_a_second_series_are_named(tmp_path, capsys):
    archive(tmp_path, numbers=(1, 2))
    series = tmp_path / "dicom" / "PANCREAS_0001" / "11-24-2015" / "series"
    for path in series.iterdir():
        path.unlink()
    hu, _ = scan()
    write_series(series, itk_image(hu, spacing=SPACING), skip=(4,))
    assert run(tmp_path) == 1
    assert "unevenly spaced DICOM slices (5 mm" in capsys.readouterr().err
    write_series(tmp_path / "dicom" / "PANCREAS_0002" / "other", itk_image(hu, spacing=SPACING))
    assert run(tmp_path) == 2
    assert "image0002 has another series" in capsys.readouterr().err


def test_unlabeled_cases_and_a_second_run(tmp_path, capsys):
    archive(tmp_path, numbers=(1, 2))
    label = tmp_path / "labels" / "label0002.nii.gz"
    label.rename(tmp_path / "later.nii.gz")
    assert run(tmp_path) == 0
    out = tmp_path / "out"
    assert not (out / "labels" / "image0002.nii.gz").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    capsys.readouterr()
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == "0 cases written, 2 were there already\n"
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    (tmp_path / "later.nii.gz").rename(label)
    assert run(tmp_path) == 0
    assert (out / "labels" / "image0002.nii.gz").exists()


def test_missing_folders_end_with_one_line(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert capsys.readouterr().err.startswith("error: ")
    (tmp_path / "dicom").mkdir()
    (tmp_path / "labels").mkdir()
    assert run(tmp_path) == 2
    assert "no case found" in capsys.readouterr().err
