import numpy as np
import pytest
import torch

from medssl.methods.mixing import box_mask, centred_boxes, random_boxes


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 5)])
def test_box_mask_equals_slicing(shape):
    rng = np.random.default_rng(0)
    low = torch.from_numpy(rng.integers(-2, 5, (3, len(shape))))
    high = low + torch.from_numpy(rng.integers(0, 8, (3, len(shape))))
    expected = torch.zeros(3, *shape, dtype=torch.bool)
    for i in range(3):
        where = tuple(
            slice(max(a, 0), max(b, 0)) for a, b in zip(low[i].tolist(), high[i].tolist(), strict=True)
        )
        expected[(i, *where)] = True
    assert torch.equal(box_mask(low, high, shape), expected)


def test_random_boxes_share_a_ratio_have_centres_of_their_own_and_span_the_third_axis():
    boxes = random_boxes(64, (400, 300, 20), np.random.default_rng(1))
    sides = torch.stack([box.any(-1).any(1).sum() for box in boxes])
    assert sides.max() == sides.mode().values  # clipped boxes are shorter, none is longer
    assert len({tuple(box[..., 0].nonzero()[0].tolist()) for box in boxes}) > 32
    assert (boxes == boxes[..., :1]).all()


def test_random_boxes_have_the_mean_area_of_their_law():
    """Side sqrt(1 - lambda) gives an unclipped share of 1 - lambda, 0.5 on average."""
    rng = np.random.default_rng(0)
    shares = [random_boxes(1, (64, 64), rng).float().mean().item() for _ in range(400)]
    assert 0.25 < np.mean(shares) < 0.5
    assert min(shares) > 0
    assert max(shares) < 1


def test_misapplied_axes_keep_a_side_short_of_its_axis():
    """The published slip measures the second axis by the third: 80 of 112 voxels are ever reached."""
    reached = {}
    for slip in (False, True):
        rng = np.random.default_rng(0)
        seen = sum(random_boxes(1, (28, 28, 20), rng, misapplied_axes=slip).long() for _ in range(300))
        reached[slip] = int(seen[0].any(0).any(-1).nonzero().max())
    assert reached[False] == 27
    assert reached[True] == 19


def test_centred_box_surrounds_the_centroid():
    region = torch.zeros(2, 20, 20, 6, dtype=torch.bool)
    region[0, 4:7, 10:15, 2] = True
    region[1, 12, 3, 1] = True
    boxes = centred_boxes(region, np.random.default_rng(0))
    for box, centre in zip(boxes, ((5, 12), (12, 3)), strict=True):
        assert box[centre].all()
        where = box[..., 0].nonzero()
        middle = (where.min(0).values + where.max(0).values + 1) / 2
        assert (middle - torch.tensor(centre)).abs().max() <= 1.5 or (where.min() == 0)


def test_centred_box_of_an_empty_region_is_empty_and_draws_as_much():
    empty = torch.zeros(2, 8, 8, 4, dtype=torch.bool)
    full = torch.ones_like(empty)
    drawing, untouched = np.random.default_rng(0), np.random.default_rng(0)
    assert not centred_boxes(empty, drawing).any()
    assert centred_boxes(full, untouched).any()
    assert drawing.random() == untouched.random()
