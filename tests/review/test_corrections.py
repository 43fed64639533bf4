"""Corrected cases become labelled ones."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from medssl.common.errors import InputError
from medssl.data import load_datalist, validate_datalist
from medssl.review.corrections import collect_corrections

from .scans import AFFINES, SPACING, THRESHOLD, body, save_scan
from .test_package import item, package


@pytest.fixture(scope="module")
def review(tmp_path_factory):
    """Four scans: one labelled, two unlabelled, one for testing; all but the first were predicted."""
    folder, paths = tmp_path_factory.mktemp("review"), {}
    for number, name in enumerate("abcd"):
        values = body((24, 20, 22), SPACING, number)
        paths[name] = save_scan(folder / f"{name}.nii.gz", values, AFFINES["oblique"])
    label = (body((24, 20, 22), SPACING, 0) > THRESHOLD).astype(np.uint8)
    nib.save(nib.Nifti1Image(label, AFFINES["oblique"]), folder / "a_label.nii.gz")
    datalist = {
        "note": "mine",
        "training": [{"image": "a.nii.gz", "label": "a_label.nii.gz"}],
        "unlabeled": [{"image": "b.nii.gz"}, {"image": "c.nii.gz"}],
        "test": [{"image": "d.nii.gz"}],
    }
    (folder / "d.json").write_text(json.dumps(datalist))
    package(folder / "out", [item(paths[name], name) for name in "bcd"])
    (folder / "corrected").mkdir()
    return folder


@pytest.fixture
def reviewed(review, tmp_path):
    """A copy to correct."""
    return shutil.copytree(review, tmp_path / "review")


def correct(folder, case, *, change=1, affine=AFFINES["oblique"], name="{}_seg.nii.gz"):
    labels = np.asarray(nib.load(folder / "out" / f"{case}_seg.nii.gz").dataobj).copy()
    labels[2:4, 2:4, 2:4] = change
    path = folder / "corrected" / name.format(case)
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


def collect(folder, out="new.json"):
    return collect_corrections(
        folder / "out", corrected=folder / "corrected", datalist=folder / "d.json", out=folder / out
    )


@pytest.mark.parametrize("name", ["{}_seg.nii.gz", "{}.nii.gz"])
def test_a_corrected_case_is_labelled_and_the_next_training_can_use_it(reviewed, name):
    path = correct(reviewed, "c", name=name)
    before = (reviewed / "d.json").read_bytes()
    assert collect(reviewed) == (["c"], [])
    new = load_datalist(reviewed / "new.json")
    validate_datalist(new)
    assert [entry["case"] for entry in new["training"]] == ["a", "c"]
    assert new["training"][1]["label"] == str(path)
    assert [entry["case"] for entry in new["unlabeled"]] == ["b"]
    assert new["split_sha256"] != load_datalist(reviewed / "d.json")["split_sha256"]
    assert json.loads((reviewed / "new.json").read_text())["split_sha256"] == new["split_sha256"]
    assert (new["note"], new["reviewed"]) == ("mine", ["c"])
    assert (reviewed / "d.json").read_bytes() == before


def test_nothing_is_overwritten(reviewed):
    correct(reviewed, "c")
    (reviewed / "new.json").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        collect(reviewed)
    assert (reviewed / "new.json").read_text() == "mine"


def test_test_cases_stay_test_cases(reviewed):
    correct(reviewed, "d")
    correct(reviewed, "b")
    assert collect(reviewed) == (["b"], ["d"])
    assert [entry["case"] for entry in load_datalist(reviewed / "new.json")["test"]] == ["d"]


def test_what_does_not_fit_the_scan_is_refused_before_anything_is_written(reviewed):
    correct(reviewed, "b")
    moved = AFFINES["oblique"].copy()
    moved[0, 3] += 5
    correct(reviewed, "c", affine=moved)
    with pytest.raises(InputError, match=r"c_seg.nii.gz"):
        collect(reviewed)
    correct(reviewed, "c", change=7)
    with pytest.raises(InputError, match="holds class 7"):
        collect(reviewed)
    assert not (reviewed / "new.json").exists()


def test_a_folder_without_any_corrected_case_is_refused(reviewed):
    with pytest.raises(InputError, match="holds no file of the 3 reviewed cases"):
        collect(reviewed)
