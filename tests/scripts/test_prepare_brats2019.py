import nibabel as nib
import numpy as np
import pytest

from medssl.data import build_datalist, read_split
from tests.scripts.load import script

prepare = script("prepare_brats2019")
CASES = (*read_split("brats2019").training[:2], read_split("brats2019").test[0])
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239], [0, 0, 1.0, 0], [0, 0, 0, 1]])
RNG = np.random.default_rng(0)


@pytest.fixture
def source(tmp_path):
    for number, case in enumerate(CASES):
        folder = tmp_path / "source" / ("HGG" if number else "LGG") / case
        folder.mkdir(parents=True)
        for modality in ("flair", "t1", "t1ce", "t2"):
            image = RNG.integers(0, 2000, (12, 11, 10)).astype(np.int16)
            nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{case}_{modality}.nii.gz")
        label = RNG.choice([0, 0, 1, 2, 4], (12, 11, 10)).astype(np.uint8)
        nib.save(nib.Nifti1Image(label, AFFINE), folder / f"{case}_seg.nii.gz")
    return tmp_path / "source"


def test_flair_and_whole_tumour_in_the_geometry_of_the_archive(source, tmp_path):
    assert prepare.main([str(source), str(tmp_path / "out")]) == 0
    for case in CASES:
        (folder,) = source.glob(f"*/{case}")
        flair, seg = (nib.load(folder / f"{case}_{part}.nii.gz") for part in ("flair", "seg"))
        image, label = (nib.load(tmp_path / "out" / part / f"{case}.nii.gz") for part in ("images", "labels"))
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(flair.dataobj))
        np.testing.assert_array_equal(np.asarray(label.dataobj), np.asarray(seg.dataobj) > 0)
        np.testing.assert_array_equal(image.affine, AFFINE)
        np.testing.assert_array_equal(label.affine, AFFINE)
    datalist = build_datalist(tmp_path / "out", dataset="brats2019", labeled=1, allow_missing=True)
    assert [item["case"] for item in datalist["training"]] == [CASES[0]]
    assert [item["case"] for item in datalist["test"]] == [CASES[2]]


def test_a_run_that_was_cut_short_is_completed(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare.main([str(source), str(out)]) == 0
    everything = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "images" / f"{CASES[1]}.nii.gz").unlink()
    capsys.readouterr()
    assert prepare.main([str(source), str(out)]) == 0
    assert capsys.readouterr().out == "1 cases written, 2 were there already\n"
    assert everything == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_cases_without_a_segmentation_are_unlabeled_and_names_must_differ(source, tmp_path, capsys):
    (folder,) = source.glob(f"*/{CASES[1]}")
    (folder / f"{CASES[1]}_seg.nii.gz").unlink()
    assert prepare.main([str(source), str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "labels" / f"{CASES[1]}.nii.gz").exists()
    (source / "copy").mkdir()
    (source / "copy" / f"{CASES[1]}_flair.nii.gz").write_bytes(b"x")
    assert prepare.main([str(source), str(tmp_path / "out")]) == 2
    assert "a case of this name lies in" in capsys.readouterr().err
