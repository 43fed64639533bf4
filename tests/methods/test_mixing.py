import numpy as np
import pytest
import torch

from medssl.methods.mixing import box_mask, centred_boxes, cutmix_boxes, paste, random_boxes


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


def sides_of(box):
    """First index and side of a box along either axis; the box is full between them."""
    places = box.nonzero()
    low, side = places.min(0).values, places.max(0).values - places.min(0).values + 1
    assert box.sum() == side.prod()
    return low, side


def test_cutmix_boxes_have_the_published_areas_ratios_and_share():
    size = 200
    boxes = cutmix_boxes(3000, (size, size), np.random.default_rng(0))
    present = boxes.flatten(1).any(1)
    assert present.float().mean() == pytest.approx(0.5, abs=0.03)
    sides = torch.stack([sides_of(box)[1] for box in boxes[present]]).double()
    areas = sides.prod(1) / size**2
    # Sides are whole pixels, cut off.
    assert areas.max() <= 0.4
    assert areas.min() >= 0.02 * 0.9
    assert areas.mean() == pytest.approx(0.21, abs=0.01)  # uniform
    assert areas.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist() == pytest.approx(
        [0.115, 0.305], abs=0.02
    )
    ratios = sides[:, 0] / sides[:, 1]
    assert ratios.min() >= 0.3 * 0.9
    assert ratios.max() <= 1 / 0.3 * 1.1
    small = areas < 0.06  # which fit nearly anywhere with any ratio, so that few are drawn again
    assert ratios[small].mean() == pytest.approx((0.3 + 1 / 0.3) / 2, abs=0.3)


def test_cutmix_boxes_lie_anywhere_in_long_images_and_volumes():
    for shape in ((8, 400), (24, 32, 5)):
        boxes = cutmix_boxes(2000, shape, np.random.default_rng(1), probability=1.0)
        assert boxes.shape == (2000, *shape)
        if len(shape) == 3:
            assert torch.equal(boxes, boxes[..., :1].expand_as(boxes))
            boxes = boxes[..., 0]
        assert boxes.flatten(0, 1).any(0).all()
        assert boxes.any(-1).any(0).all()
        share = boxes.flatten(1).float().mean(1)
        assert share.max() <= 0.4


def test_cutmix_boxes_are_of_every_image_its_own_and_repeat_with_the_generator():
    first, again = (cutmix_boxes(20, (32, 32), np.random.default_rng(5), probability=1.0) for _ in range(2))
    assert torch.equal(first, again)
    assert len(first.flatten(1).unique(dim=0)) == 20
    assert not cutmix_boxes(5, (32, 32), np.random.default_rng(5), probability=0.0).any()


def test_paste_takes_maps_with_and_without_channels():
    box = torch.tensor([[[True, False]]])
    assert paste(box, torch.ones(1, 1, 2), torch.zeros(1, 1, 2)).tolist() == [[[1, 0]]]
    assert paste(box, torch.ones(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)).tolist() == [[[[1, 0]], [[1, 0]]]]
