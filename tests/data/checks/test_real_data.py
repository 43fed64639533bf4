"""On the left-atrium benchmark itself, where it lies beside the repository."""

import json

import pytest

from medssl.data import read_split
from medssl.data.checks.run import check_datalist
from tests.places import REAL

pytestmark = pytest.mark.real("data/la", "data/la_h5")


@pytest.mark.slow
def test_normalised_hdf5_of_a_scan_is_found_beside_its_nifti(tmp_path):
    cases = read_split("la").training[:3]
    datalist = {
        "training": [
            {"image": str(REAL / f"la/images/{case}.nii.gz"), "label": str(REAL / f"la/labels/{case}.nii.gz")}
            for case in cases
        ],
        "test": [
            {
                "case": f"{case} in HDF5",
                **dict.fromkeys(("image", "label"), str(REAL / f"la_h5/{case}/mri_norm2.h5")),
            }
            for case in cases
        ],
    }
    path = tmp_path / "d.json"
    path.write_text(json.dumps(datalist))
    result = check_datalist(path, h5_spacing=0.625, num_classes=2, roi=(112, 112, 80), jobs=2)
    assert {(f.code, f.case, f.other) for f in result.findings} == {
        ("near-duplicate", f"{case} in HDF5", case) for case in cases
    }
    volumes = result.statistics["all"]["class_ml"]["1"]
    assert volumes["cases"] == 6
    assert 30 < volumes["min"] < volumes["max"] < 70
