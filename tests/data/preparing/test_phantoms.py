import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from medssl.common.errors import InputError
from medssl.data import build_datalist
from medssl.data.lists.datalist import LISTS
from medssl.data.preparing.phantom_set import write_phantoms
from medssl.data.preparing.phantoms import make_phantom

SMALL = (40, 40, 32)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.nii.gz")}


def test_a_case_depends_on_seed_and_number_alone():
    first, again = (make_phantom(3, seed=1, size=SMALL) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.affine, again.affine)
    for other in (make_phantom(4, seed=1, size=SMALL), make_phantom(3, seed=2, size=SMALL)):
        assert (first.image != other.image).mean() > 0.5


@pytest.mark.parametrize("case", range(6))
def test_label_is_one_body_of_a_plausible_size(case):
    phantom = make_phantom(case, seed=1)
    assert ndimage.label(phantom.label)[1] == 1
    assert 0.015 < phantom.label.mean() < 0.12
    assert phantom.image.dtype == np.int16
    assert phantom.image.min() >= 0


@pytest.mark.slow
def test_intensity_alone_does_not_find_the_label():
    """Other blood has nearly the same intensity: the best threshold of each case is far from right."""
    scores = []
    for case in range(8):
        phantom = make_phantom(case, seed=1)
        image = ndimage.gaussian_filter(phantom.image.astype(float), 1)
        best = 0.0
        for threshold in np.percentile(image, range(60, 99, 2)):
            mask = image > threshold
            best = max(best, 2 * (mask & (phantom.label == 1)).sum() / (mask.sum() + phantom.label.sum()))
        scores.append(best)
    assert np.median(scores) < 0.8


@pytest.mark.slow
def test_cases_vary_in_pose_size_and_contrast():
    phantoms = [make_phantom(case, seed=1, size=SMALL) for case in range(10)]
    centres = np.array([ndimage.center_of_mass(p.label) for p in phantoms])
    volumes = np.array([p.label.sum() for p in phantoms])
    blood = np.array([np.median(p.image[p.label == 1]) for p in phantoms])
    assert centres.std(0).min() > 0.8
    assert volumes.max() > 1.5 * volumes.min()
    assert blood.max() > 1.5 * blood.min()


def test_affine_is_oblique_and_read_alike_by_nibabel_and_simpleitk(tmp_path):
    write_phantoms(tmp_path, cases=1, seed=1, size=SMALL)
    path = tmp_path / "images" / "phantom_000.nii.gz"
    image = nib.load(path)
    assert np.abs(image.affine[:3, :3]).min() > 1e-4
    zooms = image.header.get_zooms()
    assert len(set(np.round(zooms, 4))) == 3
    other = sitk.ReadImage(str(path))
    np.testing.assert_allclose(other.GetSpacing(), zooms, rtol=1e-5)
    corner = np.array(other.TransformIndexToPhysicalPoint((5, 6, 7))) * [-1, -1, 1]
    np.testing.assert_allclose(corner, (image.affine @ [5, 6, 7, 1])[:3], atol=1e-3)


@pytest.mark.slow
def test_a_larger_set_begins_with_the_smaller_one_whatever_the_processes(tmp_path):
    write_phantoms(tmp_path / "a", cases=2, seed=5, size=SMALL)
    write_phantoms(tmp_path / "b", cases=3, seed=5, size=SMALL, jobs=2)
    small, large = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert len(large) == 6
    assert all(large[name] == data for name, data in small.items())


def test_a_set_that_was_cut_short_is_completed_and_nothing_is_made_twice(tmp_path):
    write_phantoms(tmp_path, cases=3, seed=5, size=SMALL)
    complete = contents(tmp_path)
    (tmp_path / "labels" / "phantom_001.nii.gz").unlink()
    written_at = (tmp_path / "images" / "phantom_000.nii.gz").stat().st_mtime_ns
    write_phantoms(tmp_path, cases=3, seed=5, size=SMALL)
    assert contents(tmp_path) == complete
    assert (tmp_path / "images" / "phantom_000.nii.gz").stat().st_mtime_ns == written_at


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="something else"):
        write_phantoms(tmp_path, cases=1, seed=1, size=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_set_of_other_settings_is_replaced_only_when_asked(tmp_path):
    write_phantoms(tmp_path, cases=2, seed=1, size=SMALL)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="seed=1, not 2"):
        write_phantoms(tmp_path, cases=1, seed=2, size=SMALL)
    assert contents(tmp_path) == before
    write_phantoms(tmp_path, cases=1, seed=2, size=SMALL, overwrite=True)
    assert len(contents(tmp_path)) == 2
    assert json.loads((tmp_path / "dataset.json").read_text())["seed"] == 2


def test_a_set_makes_a_datalist(tmp_path):
    write_phantoms(tmp_path, cases=5, seed=1, size=SMALL)
    datalist = build_datalist(tmp_path, dataset="phantom", labeled=1, validation=1, test=1)
    assert [len(datalist[k]) for k in LISTS] == [1, 2, 1, 1]
