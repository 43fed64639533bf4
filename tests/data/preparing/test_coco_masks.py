"""Outlines and run-length codes against drawing by hand and an encoder of their own."""

import numpy as np
import pytest
from matplotlib.path import Path

from medssl.data.preparing.coco_masks import class_map, object_mask, runs_mask, unpacked


def packed(numbers):
    """The code of COCO's format, from its description."""
    text = ""
    for place, number in enumerate(numbers):
        value = number - numbers[place - 2] if place > 2 else number
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr((group | (32 if more else 0)) + 48)
            if not more:
                break
    return text


def runs_of(mask):
    flat = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff([0, *edges, len(flat)]).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_runs_come_back_packed_and_as_numbers(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((37, 53)) < rng.random()
    counts = runs_of(mask)
    assert unpacked(packed(counts)) == counts
    size = mask.shape
    np.testing.assert_array_equal(runs_mask(counts, size), mask)
    for stored in (counts, packed(counts)):
        np.testing.assert_array_equal(object_mask({"counts": stored, "size": list(size)}, size), mask)


def test_large_runs_are_packed_in_several_groups():
    counts = [5, 100_000, 3, 40, 100_000]
    assert unpacked(packed(counts)) == counts


@pytest.mark.parametrize("seed", range(6))
def test_polygons_hold_the_pixels_whose_centres_they_hold(seed):
    """Random stars, which cross themselves and leave the image; triangles against matplotlib."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform((-5, -5), (45, 35), (rng.integers(3, 9), 2))
    mask = object_mask([corners.flatten().tolist()], (30, 40))
    y, x = np.mgrid[:30, :40] + 0.5
    crossed = np.zeros((30, 40), int)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        spans = (y1 <= y) != (y2 <= y)
        crossed += spans & (x >= x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    np.testing.assert_array_equal(mask, crossed % 2 == 1)
    if seed < 3:
        triangle = corners[:3]
        inside = Path(triangle).contains_points(np.stack([x, y], -1).reshape(-1, 2)).reshape(30, 40)
        np.testing.assert_array_equal(object_mask([triangle.flatten().tolist()], (30, 40)), inside)


def test_several_polygons_are_one_object_and_the_first_object_is_on_top():
    squares = [[1, 1, 3, 1, 3, 3, 1, 3], [6, 6, 8, 6, 8, 8, 6, 8]]
    objects = [
        {"class": 4, "segmentation": squares},
        {"class": 9, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]},
    ]
    ids = class_map(objects, (10, 10))
    assert ids[2, 2] == ids[7, 7] == 4
    assert ids[5, 4] == 9
    assert ids[9, 9] == 0


@pytest.mark.parametrize(
    "segmentation",
    [
        {"counts": [1, 2], "size": [10, 10]},
        {"counts": [100], "size": [5, 20]},
        [[1, 1, 2, 2]],
        [[1, 1, 2, 2, 3]],
    ],
)
def test_what_is_no_outline_is_refused(segmentation):
    with pytest.raises(ValueError, match=r"runs|polygon"):
        object_mask(segmentation, (10, 10))
