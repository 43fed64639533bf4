"""Corruptions of scans do damage, more of it the more severe, and always the same."""

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from medssl.common.errors import InputError
from medssl.data.corruptions import VOLUME_CORRUPTIONS, CorruptVolumed, corrupt_volume
from tests.data.corruptions.draws import draws

SPACING = np.array([1.0, 1.0, 2.0])


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(40, 36, 28)), 2)
    body = ndimage.gaussian_filter((rng.random((40, 36, 28)) > 0.999).astype(float), 4) > 0.002
    return torch.from_numpy(300 + 900 * body + 4000 * smooth).float().unsqueeze(0)


def corrupted(scan, name, severity, **options):
    return corrupt_volume(scan, name, severity, spacing=SPACING, **{"case": "c1", **options})


def likeness(a, b):
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


@pytest.mark.parametrize("name", VOLUME_CORRUPTIONS)
def test_damage_grows_with_the_severity(scan, name):
    # Mean over cases: one draw of a bias field may happen to be flat.
    damage = [
        np.mean([likeness(scan, corrupted(scan, name, severity, case=f"c{n}")) for n in range(6)])
        for severity in range(6)
    ]
    assert damage[0] == pytest.approx(1)
    assert all(more < less for less, more in itertools.pairwise(damage)), damage
    assert 0.2 < damage[5] < 0.995


@pytest.mark.parametrize("name", VOLUME_CORRUPTIONS)
def test_shape_scale_and_finiteness_stay(scan, name):
    for severity in (1, 5):
        damaged = corrupted(scan, name, severity)
        assert damaged.shape == scan.shape
        assert damaged.dtype == torch.float32
        assert torch.isfinite(damaged).all()
        # On the scan's own scale, not on 0 to 1.
        assert 0.3 < float(damaged.std() / scan.std()) < 3


@pytest.mark.parametrize("name", VOLUME_CORRUPTIONS)
def test_a_severity_means_the_same_on_every_scale(scan, name):
    first = corrupted(scan, name, 3)
    second = corrupted(scan * 0.01 - 7, name, 3)
    torch.testing.assert_close(second, first * 0.01 - 7, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", VOLUME_CORRUPTIONS)
def test_what_is_drawn_depends_on_seed_and_case_alone(scan, name):
    first = corrupted(scan, name, 4)
    torch.manual_seed(99)
    np.random.seed(99)
    corrupted(scan, name, 4, case="another")
    assert torch.equal(corrupted(scan, name, 4), first)
    # Several of each: a corruption may draw one of two.
    random = draws(VOLUME_CORRUPTIONS[name], scan, SPACING)
    assert any(not torch.equal(corrupted(scan, name, 4, case=f"c{n}"), first) for n in range(2, 8)) == random
    assert any(not torch.equal(corrupted(scan, name, 4, seed=n), first) for n in range(1, 7)) == random


def test_the_scan_itself_is_left_alone(scan):
    before = scan.clone()
    for name in VOLUME_CORRUPTIONS:
        copy = corrupted(scan, name, 0)
        assert torch.equal(copy, scan)
        copy += 1
        corrupted(scan, name, 5)
    assert torch.equal(scan, before)


def test_blur_is_measured_in_mm():
    point = torch.zeros(1, 41, 41, 41)
    point[0, 20, 20, 20] = 1000
    blurred = corrupt_volume(point, "blur", 3, spacing=np.array([0.5, 1.0, 1.5]), case="c")[0].clamp(min=0)
    grid = torch.arange(41.0) - 20
    widths = []
    for axis in range(3):
        profile = blurred.sum([a for a in range(3) if a != axis])
        widths.append(float(((profile * grid**2).sum() / profile.sum()).sqrt()))
    np.testing.assert_allclose(np.array(widths) * (0.5, 1.0, 1.5), 1.5, rtol=0.06)


def test_lost_slices_are_the_darkest_value(scan):
    damaged = corrupted(scan, "lost_slices", 5)
    lost = [z for z in range(28) if (damaged[..., z] == damaged[..., z].min()).all()]
    assert len(lost) == round(0.32 * 28)
    intact = [z for z in range(28) if z not in lost]
    torch.testing.assert_close(damaged[..., intact], scan[..., intact], rtol=1e-5, atol=1e-2)


def test_as_a_transform_it_keeps_the_geometry(scan):
    affine = torch.diag(torch.tensor([-1.0, 1, 2, 1], dtype=torch.float64))
    image = MetaTensor(scan, affine=affine, meta={"filename_or_obj": "c1.nii.gz"})
    item = {"case": "c1", "image": image, "label": "untouched"}
    transformed = CorruptVolumed("image", corruption="noise", severity=2, seed=3)(item)
    assert torch.equal(transformed["image"].affine, affine)
    assert transformed["image"].meta["filename_or_obj"] == "c1.nii.gz"
    assert transformed["label"] == "untouched"
    expected = corrupted(scan, "noise", 2, seed=3)
    assert torch.equal(transformed["image"].as_tensor(), expected)


def test_unknown_names_and_severities(scan):
    with pytest.raises(InputError, match="blur"):
        corrupted(scan, "blurr", 1)
    with pytest.raises(InputError, match="not from 0 to 5"):
        corrupted(scan, "blur", 6)
