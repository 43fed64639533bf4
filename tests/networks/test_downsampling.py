import math
import random

import pytest

from medssl.common.errors import InputError
from medssl.networks import anisotropic_strides, product_of_strides

FOUR_TIMES_TWO = [[2, 2, 2]] * 4


def test_thick_slices_are_left_alone_until_the_others_are_as_thick():
    strides, kernels = anisotropic_strides((1.5, 1.5, 10), (96, 96, 8))
    assert strides == [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 1]]
    assert kernels == [[3, 3, 1], [3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert product_of_strides(strides) == (16, 16, 2)


@pytest.mark.parametrize("spacing", [None, (1, 1, 1), (0.625,) * 3, (1, 1.9, 1)])
def test_equal_sides_give_what_is_published(spacing):
    assert anisotropic_strides(spacing, (112, 112, 80)) == (FOUR_TIMES_TWO, [[3, 3, 3]] * 5)


def test_without_a_limit_the_long_axes_are_halved_further():
    strides, kernels = anisotropic_strides((5, 1.5625, 1.5625), (20, 256, 224), most_steps=None)
    assert strides == [[1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]]
    assert kernels == [[1, 3, 3], *[[3, 3, 3]] * 5]


def steps_one_by_one(spacing, patch, most):
    """The rule once more, axis by axis with dictionaries."""
    axes = {
        axis: {"mm": float(mm), "side": side, "kernel": 1}
        for axis, (mm, side) in enumerate(zip(spacing, patch, strict=True))
    }
    strides, kernels = [], []
    for _ in range(most):
        candidates = {axis for axis in axes if axes[axis]["side"] / 2 >= 4}
        if not candidates:
            break
        limit = 2 * min(axes[axis]["mm"] for axis in candidates)
        candidates = {axis for axis in candidates if axes[axis]["mm"] < limit}
        if len(candidates) == 1 and axes[min(candidates)]["side"] < 12:
            break
        overall = min(entry["mm"] for entry in axes.values())
        for entry in axes.values():
            if entry["mm"] < 2 * overall:
                entry["kernel"] = 3
        kernels.append([entry["kernel"] for entry in axes.values()])
        for axis in candidates:
            axes[axis]["mm"] *= 2
            axes[axis]["side"] = math.ceil(axes[axis]["side"] / 2)
        strides.append([2 if axis in candidates else 1 for axis in axes])
    return strides, [*kernels, [3] * len(axes)]


def test_random_patches_follow_the_rule_and_may_be_rounded_up():
    draw = random.Random(0)
    for _ in range(300):
        axes = draw.choice([2, 3])
        spacing = [draw.choice([0.5, 0.7, 1, 2, 3, 5, 10]) for _ in range(axes)]
        patch = [draw.randint(12, 200) for _ in range(axes)]
        most = draw.randint(1, 7)
        steps = anisotropic_strides(spacing, patch, most_steps=most)
        assert steps == steps_one_by_one(spacing, patch, most)
        multiples = product_of_strides(steps.strides)
        rounded = [-(-side // multiple) * multiple for side, multiple in zip(patch, multiples, strict=True)]
        assert anisotropic_strides(spacing, rounded, most_steps=most) == steps
        assert all(
            side // multiple >= 4 or multiple == 1 for side, multiple in zip(rounded, multiples, strict=True)
        )


@pytest.mark.parametrize(
    ("spacing", "patch", "hint"),
    [
        ((1, 1, 1), (7, 7, 7), "patch size .7, 7, 7.: too small"),
        ((1, 1, 10), (8, 7, 96), "too small"),  # one axis alone, and too short for that
        ((1, 1), (32, 32, 32), "one spacing and one side an axis"),
        ((1, 0, 1), (32, 32, 32), "no positive number"),
        ((1, float("nan"), 1), (32, 32, 32), "no positive number"),
    ],
)
def test_what_gives_no_step_is_refused(spacing, patch, hint):
    with pytest.raises(InputError, match=hint):
        anisotropic_strides(spacing, patch)
