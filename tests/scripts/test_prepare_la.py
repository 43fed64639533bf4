import json

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data import build_datalist, read_split
from tests.data.dicom import itk_image
from tests.places import REAL
from tests.scripts.load import ROOT, script

prepare = script("prepare_la")
CASES = (*read_split("la").training[:2], read_split("la").test[0])
SHAPE = (140, 130, 6)


def volumes(seed=0):
    image = np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)
    label = np.zeros(SHAPE, np.uint8)
    label[60:80, 50:100, 1:5] = 255
    return image, label


def challenge(folder):
    """The challenge's two folders of NRRD files."""
    for number, case in enumerate(CASES):
        part = folder / ("Training Set" if number < 2 else "Testing Set") / case
        part.mkdir(parents=True)
        for name, array in zip(("lgemri", "laendo"), volumes(number), strict=True):
            image = itk_image(array, spacing=(0.625, 0.625, 0.625), origin=(-100.0, 20.0, 7.0))
            sitk.WriteImage(image, str(part / f"{name}.nrrd"), True)
    return folder


def run(folder, *options):
    return prepare.main([str(folder / "source"), str(folder / "out"), *options])


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def test_nrrd_keeps_voxels_and_geometry_and_255_becomes_1(tmp_path):
    challenge(tmp_path / "source")
    assert run(tmp_path) == 0
    for number, case in enumerate(CASES):
        image, label = volumes(number)
        stored = nib.load(tmp_path / "out" / "images" / f"{case}.nii.gz")
        np.testing.assert_array_equal(np.asarray(stored.dataobj), image)
        assert stored.get_data_dtype() == np.uint8
        expected = np.array([[-0.625, 0, 0, 100], [0, -0.625, 0, -20], [0, 0, 0.625, 7], [0, 0, 0, 1]])
        np.testing.assert_allclose(stored.affine, expected, atol=1e-5)
        assert stored.get_sform(coded=True)[1] == stored.get_qform(coded=True)[1] == 1
        np.testing.assert_array_equal(voxels(tmp_path / "out" / "labels" / f"{case}.nii.gz"), label > 0)
    datalist = build_datalist(tmp_path / "out", dataset="la", labeled=1, allow_missing=True)
    assert [item["case"] for item in datalist["test"]] == [CASES[2]]


@pytest.mark.slow
def test_processes_give_the_same_bytes_as_one(tmp_path, monkeypatch, capsys):
    challenge(tmp_path / "source")
    bad = tmp_path / "source" / "bad" / "lgemri.nrrd"
    bad.parent.mkdir()
    bad.write_bytes(b"NRRD0004\n")
    assert run(tmp_path) == 1
    alone = capsys.readouterr()
    monkeypatch.syspath_prepend(ROOT / "scripts")  # where the other processes find the script
    assert prepare.main([str(tmp_path / "source"), str(tmp_path / "two"), "--jobs", "2"]) == 1
    together = capsys.readouterr()
    assert (together.out, together.err) == (alone.out, alone.err)
    for path in (tmp_path / "out").rglob("*.*"):
        assert (tmp_path / "two" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()


def test_reference_crop_is_the_published_one_and_moves_the_origin(tmp_path):
    challenge(tmp_path / "source")
    assert run(tmp_path, "--crop", "reference-roi") == 0
    image, label = volumes()
    stored = nib.load(tmp_path / "out" / "images" / f"{CASES[0]}.nii.gz")
    # Margin 15 + (112 - extent) // 2 on both sides, clipped to the volume; the third axis whole.
    starts, stops = (60 - 15 - 46, 50 - 15 - 31), (80 + 15 + 46, 100 + 15 + 31)
    x, y = (slice(max(a, 0), min(b, n)) for a, b, n in zip(starts, stops, SHAPE, strict=False))
    np.testing.assert_array_equal(np.asarray(stored.dataobj), image[x, y])
    uncropped = np.array([[-0.625, 0, 0, 100], [0, -0.625, 0, -20], [0, 0, 0.625, 7], [0, 0, 0, 1]])
    np.testing.assert_allclose(stored.affine[:, 3], uncropped @ [x.start, y.start, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(voxels(tmp_path / "out" / "labels" / f"{CASES[0]}.nii.gz"), label[x, y] > 0)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["settings"]["crop"] == "reference-roi"


def test_other_settings_are_refused_and_replaced_when_asked(tmp_path, capsys):
    challenge(tmp_path / "source")
    assert run(tmp_path) == 0
    assert run(tmp_path, "--crop", "reference-roi") == 2
    assert "was prepared with crop=none, not reference-roi" in capsys.readouterr().err
    assert voxels(tmp_path / "out" / "images" / f"{CASES[0]}.nii.gz").shape == SHAPE
    assert run(tmp_path, "--crop", "reference-roi", "--overwrite") == 0
    assert voxels(tmp_path / "out" / "images" / f"{CASES[0]}.nii.gz").shape != SHAPE


def test_hdf5_becomes_nifti_of_the_known_spacing(tmp_path):
    image = np.random.default_rng(0).normal(size=(9, 8, 7)).astype(np.float32)
    part = tmp_path / "source" / CASES[0]
    part.mkdir(parents=True)
    with h5py.File(part / "mri_norm2.h5", "w") as file:
        file["image"], file["label"] = image, (image > 1).astype(np.uint8)
    assert run(tmp_path) == 0
    stored = nib.load(tmp_path / "out" / "images" / f"{CASES[0]}.nii.gz")
    np.testing.assert_array_equal(np.asarray(stored.dataobj), image)
    np.testing.assert_allclose(stored.affine, np.diag([0.625, 0.625, 0.625, 1]))


def test_damaged_and_odd_cases_fail_alone_and_are_done_once_mended(tmp_path, capsys):
    source = challenge(tmp_path / "source")
    bad, odd = source / "Training Set" / CASES[0] / "lgemri.nrrd", source / "Training Set" / CASES[1]
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    _, label = volumes(1)
    label[0, 0, 0] = 7
    sitk.WriteImage(
        itk_image(label, spacing=(0.625,) * 3, origin=(-100.0, 20.0, 7.0)), str(odd / "laendo.nrrd")
    )
    assert run(tmp_path) == 1
    captured = capsys.readouterr()
    assert captured.out == "1 cases written, 0 were there already\n"
    assert "laendo.nrrd: holds the ids [0, 7, 255]" in captured.err
    assert "2 cases failed" in captured.err
    assert "Traceback" not in captured.err
    written = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == sorted(["dataset.json", f"{CASES[2]}.nii.gz", f"{CASES[2]}.nii.gz"])
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["cases"] == [CASES[2]]
    bad.write_bytes(good)
    assert run(tmp_path) == 1
    assert "1 cases written, 1 were there already" in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    challenge(tmp_path / "source")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    assert run(tmp_path) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert prepare.main([str(tmp_path / "nowhere"), str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.real("data/la", "data/la_h5")
def test_real_hdf5_gives_the_voxels_of_the_nifti_release(tmp_path):
    case = CASES[0]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / case).symlink_to(REAL / "la_h5" / case)
    assert run(tmp_path) == 0
    label, released = (
        nib.load(folder / "labels" / f"{case}.nii.gz") for folder in (tmp_path / "out", REAL / "la")
    )
    np.testing.assert_array_equal(np.asarray(label.dataobj), np.asarray(released.dataobj))
    image, released = (
        voxels(folder / "images" / f"{case}.nii.gz").astype(np.float64).ravel()
        for folder in (tmp_path / "out", REAL / "la")
    )
    assert np.corrcoef(image, released)[0, 1] > 1 - 1e-9
