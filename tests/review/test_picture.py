"""Pictures hang as radiologists hang them."""

import numpy as np
import pytest
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from medssl.review.picture import PLANES, for_display, most_uncertain_place, plane_of


def marked(codes):
    """A volume whose patient-right-anterior-superior corner is 1, stored in the order of ``codes``."""
    ras = np.zeros((6, 8, 10))
    ras[-1, -1, -1] = 1  # RAS: the last index of each axis is right, anterior, superior
    orientation = axcodes2ornt(codes)
    # From RAS to the stored order and, for the affine, back.
    back = ornt_transform(axcodes2ornt("RAS"), orientation)
    return apply_orientation(ras, back), inv_ornt_aff(back, ras.shape)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SLA", "IPL"])
def test_right_is_left_and_anterior_and_superior_are_up(codes):
    stored, affine = marked(codes)
    assert "".join(aff2axcodes(affine)) == codes
    canonical = apply_orientation(stored, io_orientation(affine))
    axial, coronal, sagittal = PLANES
    picture = plane_of(canonical, axial, 9)
    assert picture.shape == (8, 6)
    assert picture[0, 0] == 1  # right at the left, anterior on top
    picture = plane_of(canonical, coronal, 7)
    assert picture.shape == (10, 6)
    assert picture[0, 0] == 1  # right at the left, superior on top
    picture = plane_of(canonical, sagittal, 5)
    assert picture.shape == (10, 8)
    assert picture[0, 0] == 1  # anterior at the left, superior on top
    assert [p.letters for p in PLANES] == [("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I")]


def test_the_place_is_where_uncertainty_is_dense_not_where_one_voxel_is():
    uncertainty = np.zeros((20, 24, 16), np.float32)
    uncertainty[2, 2, 2] = 1
    uncertainty[12:16, 8:12, 4:8] = 0.5
    assert most_uncertain_place(uncertainty) == (14, 10, 6)
    assert most_uncertain_place(np.zeros((2, 30, 1), np.float32)) == (1, 2, 0)


def test_grey_levels_span_the_bulk_of_the_intensities():
    values = np.random.default_rng(0).normal(100, 10, (20, 20, 20))
    values[0, 0, 0] = 1e6
    levels = for_display(values)
    assert levels.dtype == np.uint8
    assert (levels.min(), levels.max()) == (0, 255)
    assert 100 < np.median(levels) < 140
    assert for_display(np.full((4, 4, 4), 7.0)).max() == 0
