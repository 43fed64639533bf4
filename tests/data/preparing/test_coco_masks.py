"""Outlines and run-length codes, as pycocotools draws them, against masks drawn by hand."""

import numpy as np
import pytest
from matplotlib.path import Path

from medssl.data.preparing.coco_masks import class_map, object_mask

coco = pytest.importorskip("pycocotools.mask")


def runs_of(mask):
    flat = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff([0, *edges, len(flat)]).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_runs_come_back_packed_and_as_numbers(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((37, 53)) < rng.random()
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    for counts in (runs_of(mask), packed):
        np.testing.assert_array_equal(object_mask({"counts": counts, "size": [37, 53]}, (37, 53)), mask)


@pytest.mark.parametrize("seed", range(6))
def test_a_triangle_holds_the_pixels_whose_centres_it_holds(seed):
    """But for those along its outline, which pycocotools rounds on a grid five times as fine."""
    corners = np.random.default_rng(seed).uniform((-5, -5), (45, 35), (3, 2))
    mask = object_mask([corners.flatten().tolist()], (30, 40))
    y, x = np.mgrid[:30, :40] + 0.5
    triangle, points = Path(corners), np.stack([x, y], -1).reshape(-1, 2)
    nearby = [
        np.hypot(
            *(points - (a + np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)[:, None] * (b - a))).T
        )
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    ]
    apart = np.min(nearby, axis=0).reshape(30, 40) > 0.75
    np.testing.assert_array_equal(mask[apart], triangle.contains_points(points).reshape(30, 40)[apart])


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
        {"counts": [200, -100], "size": [10, 10]},
        {"counts": [100], "size": [5, 20]},
        [[1, 1, 2, 2]],
        [[1, 1, 2, 2, 3]],
    ],
)
def test_what_is_no_outline_is_refused(segmentation):
    with pytest.raises(ValueError, match=r"runs|polygon"):
        object_mask(segmentation, (10, 10))
