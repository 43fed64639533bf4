from itertools import pairwise
from math import prod

import pytest

from medssl.planning.rules import grid
from medssl.planning.rules.patches import (
    MOST_MEASUREMENTS,
    MOST_VOXELS,
    StepCost,
    affordable,
    covers,
    ladder,
    shown_share,
    vnet_shape,
)
from tests.planning.cases import CENTRE, case, data_set


def test_equal_spacings_are_not_resampled():
    sides, resampled, _ = grid.spacing(data_set(case(spacing=(0.7, 0.7, 0.7), boxes=CENTRE)))
    assert sides == (0.7, 0.7, 0.7)
    assert not resampled


def test_different_spacings_go_to_their_median_and_a_coarse_axis_stays():
    cases = [case(spacing=(1.5, 1.5, z), boxes=CENTRE) for z in (5.0, 10.0, 10.0)]
    sides, resampled, reason = grid.spacing(data_set(*cases, unlabeled=0))
    assert sides == (1.5, 1.5, 10.0)
    assert resampled
    assert "axis 2 stays coarse" in reason


@pytest.mark.parametrize(
    ("factor", "expected"), [(1, (1, 1, 5)), (2, (2, 2, 5)), (4, (4, 4, 5)), (8, (8, 8, 8))]
)
def test_a_coarser_grid_leaves_the_coarse_axis_until_the_others_reach_it(factor, expected):
    assert grid.coarser((1, 1, 5), factor) == expected


def test_a_small_structure_bounds_how_coarse_the_grid_may_be():
    small = data_set(case(boxes={1: ((0, 6), (0, 30), (0, 30))}))
    assert grid.largest_factor(small, (1.0, 1.0, 1.0)) == 1.5  # 6 mm in 4 voxels
    tiny = data_set(case(boxes={1: ((0, 2), (0, 2), (0, 2))}))
    assert grid.largest_factor(tiny, (1.0, 1.0, 1.0)) == 1.0


def test_files_without_an_orientation_keep_their_order():
    assert grid.orientation(data_set(case(boxes=CENTRE)))[0] == "RAS"
    assert grid.orientation(data_set(case(boxes=CENTRE, oriented=False)))[0] is None


@pytest.mark.parametrize("size", [(35, 50, 36), (200, 150, 88), (17, 300, 40), (512, 512, 600)])
def test_patches_are_multiples_shrink_one_side_at_a_time_and_begin_at_the_scan(size):
    patches = ladder(size, (16, 16, 16))
    assert all(side % 16 == 0 for patch in patches for side in patch)
    assert prod(patches[0]) <= MOST_VOXELS
    for larger, smaller in pairwise(patches):
        assert sorted(a - b for a, b in zip(larger, smaller, strict=True)) == [0, 0, 16]
    assert patches[-1] == tuple(min(32, max(16, round(n / 16) * 16)) for n in size)


def test_hippocampus_begins_with_the_patch_that_was_chosen_by_hand():
    assert ladder((35, 50, 36), (16, 16, 16))[0] == (32, 48, 32)


def test_a_patch_covers_a_quarter_of_the_scan_or_the_structure_with_its_surroundings():
    assert shown_share((50, 50, 50), (100, 100, 25)) == 0.25
    assert covers((50, 50, 50), (100, 100, 25), (100, 100, 25))
    assert not covers((40, 40, 40), (100, 100, 100), (60, 60, 60))
    assert covers((40, 40, 40), (100, 100, 100), (20, 20, 20))


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 3.0, 100.0])
def test_the_largest_affordable_patch_is_found_as_by_trying_all(seconds):
    patches = ladder((120, 100, 60), (16, 16, 16))
    asked = []

    def measure(patch):
        asked.append(patch)
        return StepCost(1e-5 * prod(patch))

    patch, cost = affordable(patches, measure, seconds=seconds)
    fitting = [p for p in patches if 1e-5 * prod(p) <= seconds]
    assert patch == (fitting[0] if fitting else patches[-1])
    assert cost == StepCost(1e-5 * prod(patch))
    assert len(asked) <= MOST_MEASUREMENTS


def test_memory_bounds_the_patch_as_well():
    patches = ladder((128, 128, 128), (16, 16, 16))
    patch, _ = affordable(patches, lambda p: StepCost(0.0, prod(p) / 1000), seconds=1.0, memory_mb=500.0)
    assert 250_000 < prod(patch) <= 500_000


def test_an_overhead_that_does_not_grow_with_the_patch_is_seen_through():
    patches = ladder((96, 96, 96), (16, 16, 16))
    patch, _ = affordable(patches, lambda p: StepCost(0.5 + 1e-6 * prod(p)), seconds=1.4)
    assert 1e-6 * prod(patch) <= 0.9
    assert prod(patch) > 3 * 32**3  # a time in proportion to voxels would have stopped at twice the smallest


def test_the_vnet_is_as_published_on_an_isotropic_grid_and_spares_a_coarse_axis():
    assert vnet_shape((1.0, 1.0, 1.2), (64, 64, 40)).downsampling is None
    coarse = vnet_shape((1.5, 1.5, 10.0), (128, 128, 10))
    assert coarse.multiple[0] == 16
    assert coarse.multiple[2] < 16
    assert coarse.downsampling.strides[0] == [2, 2, 1]
