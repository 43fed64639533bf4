"""Distances of a band are those of a plain search, in mm."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medssl.review.boundary_band import BAND, CORE, RIM, band_map, missed_share, wrong_core_share

SPACING = (0.7, 1.1, 2.5)


def masks(seed, shape=(9, 8, 6)):
    """Two blobs that overlap, both reaching a border of the scan."""
    draw = np.random.default_rng(seed)
    grid = np.stack(np.indices(shape), -1) * SPACING
    predicted, reference = (
        np.linalg.norm(grid - draw.uniform((1, 2, 3), (4, 6, 9)), axis=-1) < draw.uniform(2.5, 4)
        for _ in "ab"
    )
    predicted[0, 0, 0] = reference[-1, -1, -1] = True  # and neither of them in one piece
    return predicted, reference


def distances(shape, target):
    """Of every voxel to the nearest one of ``target``, by comparing with all of them."""
    places = np.stack(np.indices(shape), -1).reshape(-1, 3) * SPACING
    return cdist(places, np.argwhere(target) * SPACING).min(1).reshape(shape)


@pytest.mark.parametrize("seed", range(4))
def test_shares_and_zones_are_those_of_a_plain_search(seed):
    predicted, reference = masks(seed)
    to_prediction = distances(predicted.shape, predicted)
    outside = np.pad(~predicted, 1, constant_values=True)
    depth = distances(outside.shape, outside)[1:-1, 1:-1, 1:-1]
    missed = missed_share(predicted, reference, SPACING)
    wrong = wrong_core_share(predicted, reference, SPACING)
    for width in (0, 0.69, 0.71, 1.45, 2.6, 5.0, 40.0):
        share = (reference & (to_prediction > width)).sum() / reference.sum()
        assert missed.at(width) == pytest.approx(share)
        share = (predicted & ~reference & (depth > width)).sum() / predicted.sum()
        assert wrong.at(width) == pytest.approx(share)
        zones = band_map(predicted, SPACING, outer_mm=width, inner_mm=width)
        np.testing.assert_array_equal(zones >= RIM, predicted)
        np.testing.assert_array_equal(zones == BAND, ~predicted & (to_prediction <= width))
        np.testing.assert_array_equal(zones == CORE, predicted & (depth > width))
        # What the map captures is what the share says.
        assert (reference & (zones == 0)).sum() / reference.sum() == pytest.approx(missed.at(width))
    assert (missed.at(40.0), wrong.at(40.0)) == (0, 0)


def test_of_no_structure_nothing_is_missed_and_all_is_wrong():
    predicted, reference = masks(0)
    nothing = np.zeros_like(reference)
    assert missed_share(predicted, nothing, SPACING).at(0) == 0
    assert wrong_core_share(predicted, nothing, SPACING).at(0) == 1
    assert missed_share(predicted, predicted, SPACING).at(0) == 0
