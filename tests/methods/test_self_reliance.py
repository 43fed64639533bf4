import math

import pytest

from medssl.common.errors import InputError
from medssl.methods import SelfReliance


def test_three_quarters_of_a_training_belong_to_the_annotator():
    schedule = SelfReliance(80)
    assert [schedule.own(step) for step in (0, 59, 60, 79)] == [False, False, True, True]


def test_the_weight_falls_exponentially_over_stage_two():
    schedule = SelfReliance(80)
    expected = [0.5 * math.exp(-5 * t / 20) for t in range(20)]
    assert [schedule.weight(60 + t) for t in range(20)] == pytest.approx(expected)
    assert schedule.weight(0) == 0.5
    assert schedule.weight(80) == pytest.approx(0.5 * math.exp(-5))


def test_constants_are_options():
    schedule = SelfReliance(100, switch=0.5, weight=0.2, decay=0)
    assert not schedule.own(49)
    assert schedule.own(50)
    assert schedule.weight(99) == 0.2


@pytest.mark.parametrize("total", [1, 7, 1000])
def test_a_switch_at_either_end_leaves_one_stage(total):
    assert not any(SelfReliance(total, switch=1).own(step) for step in range(total))
    assert all(SelfReliance(total, switch=0).own(step) for step in range(total))
    assert SelfReliance(total, switch=1).weight(total) == 0.5


def test_shares_that_binary_fractions_miss_begin_at_the_whole_step():
    assert SelfReliance(1000, switch=0.29).start == 290  # 0.29 * 1000 is a little less


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_steps": 0},
        {"switch": -0.1},
        {"switch": math.nan},
        {"weight": 1.1},
        {"decay": -1},
        {"decay": math.inf},
    ],
)
def test_refuses_a_schedule_that_cannot_be(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        SelfReliance(**{"total_steps": 10, **wrong})
