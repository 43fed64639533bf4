import numpy as np
import pytest

from medssl.planning.rules import sampling
from tests.planning.cases import CENTRE, case, data_set


@pytest.mark.parametrize(
    ("name", "lateral"),
    [
        ("left kidney", True),
        ("kidney_R", True),
        ("Right-Hippocampus", True),
        ("l.lung", True),
        ("liver", False),
        ("cleft", False),
        ("ventricle", False),
    ],
)
def test_names_that_say_a_side(name, lateral):
    assert bool(sampling.lateral_names([name])) is lateral


def test_lateral_classes_are_never_flipped_along_left_and_right():
    kidneys = data_set(case(boxes=CENTRE), names=("background", "left kidney"))
    axes, lateral, reason = sampling.flips(kidneys, oriented=True)
    assert (axes, lateral) == ([1, 2], True)
    assert "left kidney" in reason
    assert sampling.flips(kidneys, oriented=False)[:2] == ([], False)


def test_an_axis_along_which_two_classes_always_lie_alike_is_unsafe():
    front = ((20, 44), (0, 20), (20, 44))
    back = ((20, 44), (30, 60), (20, 44))
    same = data_set(*[case(boxes={1: back, 2: front})] * 3, names=("background", "a", "b"))
    assert sampling.flips(same, oriented=True)[0] == [0, 2]
    both = data_set(
        case(boxes={1: back, 2: front}), case(boxes={1: front, 2: back}), names=("background", "a", "b")
    )
    assert sampling.flips(both, oriented=True)[0] == [0, 1, 2]


def test_a_small_offset_of_the_centres_is_no_side():
    inner = data_set(
        *[case(boxes={1: ((10, 50),) * 3, 2: ((22, 42),) * 3})] * 3, names=("background", "wall", "inside")
    )
    assert sampling.flips(inner, oriented=True)[0] == [0, 1, 2]


@pytest.mark.parametrize("sides", [(1, 1, 1), (3, 2, 4), (7, 6, 5)])
def test_sums_over_boxes_are_those_of_a_loop(sides):
    cells = np.random.default_rng(0).random((7, 6, 5)) < 0.1
    sums = sampling._sums(cells, sides)
    for place in np.ndindex(*sums.shape):
        box = tuple(slice(start, start + side) for start, side in zip(place, sides, strict=True))
        assert sums[place] == cells[box].sum()


def test_a_tiny_class_is_oversampled_and_a_large_one_is_not():
    tiny = data_set(case(boxes={1: ((2, 4), (2, 4), (2, 4))}))
    shares = sampling.class_shares(tiny, (16, 16, 16), cropped=False)
    assert shares["organ"] == pytest.approx((4 / 49) ** 3)  # of 49 places along an axis four show it
    assert sampling.oversampling(shares)[0] == sampling.RARE_SHARE
    whole = sampling.class_shares(tiny, (64, 64, 64), cropped=False)
    assert whole == {"organ": 1.0}
    assert sampling.oversampling(whole)[0] == 0.0


def test_a_crop_counts_before_patches_are_drawn():
    around = case(boxes={1: ((2, 4),) * 3}, box=((0, 16),) * 3)
    shares = [
        sampling.class_shares(data_set(around), (12, 12, 12), cropped=cropped)["organ"]
        for cropped in (False, True)
    ]
    assert shares[0] < 0.01 < 0.2 < shares[1]
