import pytest

from medssl.common.errors import InputError
from medssl.planning.rules import schedule as rules


@pytest.mark.parametrize("budget", [300, 1800, 7200, 10**6])
@pytest.mark.parametrize("step", [0.02, 0.5, 1.5])
def test_steps_stay_within_the_budget_and_divide_into_epochs(budget, step):
    plan = rules.schedule(budget, step, 0.5, validation=10, test=20)
    assert plan.max_steps % plan.steps_per_epoch == 0
    assert plan.max_steps <= rules.MOST_STEPS
    assert plan.seconds <= budget
    assert plan.validation_seconds <= rules.VALIDATION_SHARE * plan.training_seconds + 0.5 * 10
    if plan.max_steps < 0.9 * rules.MOST_STEPS:
        assert plan.seconds >= 0.6 * budget


def test_there_is_always_a_validation_where_there_are_cases():
    plan = rules.schedule(600, 1.0, 10.0, validation=20, test=0)
    assert plan.val_interval <= plan.max_steps // plan.steps_per_epoch
    assert plan.validation_seconds == pytest.approx(200)


def test_too_small_a_budget_is_refused_with_one_that_does():
    with pytest.raises(InputError, match=r"buys 54 steps of 1\.00 s") as refused:
        rules.schedule(60, 1.0, 0.0, validation=0, test=0)
    assert "give 2 min" in refused.value.remedy


@pytest.mark.parametrize(("steps", "expected"), [(1_400, False), (1_500, True)])
def test_it_is_said_from_where_semi_supervised_learning_pays(steps, expected):
    pays, words = rules.pays(steps, "tcseg_short")
    assert pays is expected
    assert "docs/benchmarks.md" in words
    assert ("Supervised training is the better choice" in words) is not expected


def test_the_known_starting_points_are_met():
    assert rules.learning_rate(1_500, 8)[0] == 0.05
    assert rules.learning_rate(20_000, 16)[0] == 0.01
    assert rules.dropout((32, 48, 32), 8)[0] == 0.0
    assert rules.dropout((64, 64, 32), 8)[0] == 0.2
    assert rules.dropout((112, 112, 80), 16)[0] == 0.5
    assert rules.default_method((32, 48, 32))[0] == "tcseg_short"
    assert rules.default_method((112, 112, 80))[0] == "tcseg_own"
