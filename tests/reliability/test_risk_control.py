"""What is promised of a new case holds as often as promised."""

from fractions import Fraction
from math import ceil, inf

import numpy as np
import pytest

from medssl.reliability.conformal.quantiles import conformal_rank
from medssl.reliability.risk_control import (
    FallingLoss,
    conformal_bound,
    controlled_width,
    coverage_to_expect,
    fewest_cases,
    largest_loss,
)


@pytest.mark.parametrize("risk", ["0.01", "0.05", "0.1", "0.2", "0.3", "0.5", "0.7"])
def test_ranks_are_those_of_exact_arithmetic(risk):
    exact = Fraction(risk)
    for count in range(1, 400):
        assert conformal_rank(count, float(risk)) == ceil((count + 1) * (1 - exact))
    few = fewest_cases(float(risk))
    assert conformal_rank(few, float(risk)) <= few
    assert conformal_rank(few - 1, float(risk)) > few - 1
    assert few == ceil(1 / exact) - 1


def test_the_bound_is_the_score_of_its_rank_and_infinite_with_too_few():
    scores = np.random.default_rng(0).normal(size=37)
    rank = conformal_rank(37, 0.2)
    assert conformal_bound(scores, 0.2) == np.quantile(scores, rank / 37, method="inverted_cdf")
    assert conformal_bound(scores[:3], 0.2) == inf
    assert conformal_bound([], 0.2) == inf
    for risk in (0, 1, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            conformal_bound([0.5] * 9, risk)


@pytest.mark.parametrize(("count", "risk"), [(9, 0.1), (19, 0.1), (32, 0.2), (14, 0.35)])
def test_a_new_score_stays_below_the_bound_as_often_as_promised(count, risk):
    draw, trials = np.random.default_rng(count), 4000
    scores = draw.exponential(size=(trials, count + 1))
    holds = np.mean([row[-1] <= conformal_bound(row[:-1], risk) for row in scores])
    error = 4 * np.sqrt(risk * (1 - risk) / trials)
    assert 1 - risk - error <= holds <= 1 - risk + 1 / (count + 1) + error


def test_a_calibrations_own_coverage_falls_below_what_is_to_be_expected_once_in_twenty():
    draw = np.random.default_rng(3)
    bounds = [conformal_bound(draw.random(40), 0.1) for _ in range(4000)]  # of uniform scores the coverage
    assert np.mean(np.array(bounds) < coverage_to_expect(40, 0.1)) == pytest.approx(0.05, abs=0.015)
    assert coverage_to_expect(8, 0.1) == 1


def random_loss(draw):
    total = int(draw.integers(0, 30))
    distances = draw.integers(1, 9, size=int(draw.integers(0, total + 1))) * 0.5
    return distances, total


def test_a_loss_is_the_share_beyond_the_width():
    draw = np.random.default_rng(1)
    for _ in range(50):
        distances, total = random_loss(draw)
        loss = FallingLoss.of_distances(distances, total)
        for width in (0, 0.25, 0.5, 1, 2.75, 4, 9):
            assert loss.at(width) == pytest.approx(sum(d > width for d in distances) / max(total, 1))
    pair = [FallingLoss.of_distances(*random_loss(draw)) for _ in range(2)]
    for width in np.arange(0, 6, 0.25):
        assert largest_loss(pair).at(width) == max(loss.at(width) for loss in pair)


def test_the_width_is_the_smallest_of_a_plain_search():
    draw = np.random.default_rng(2)
    for count in (1, 2, 5, 12, 30):
        for risk in (0.05, 0.1, 0.3, 0.5):
            cases = [random_loss(draw) for _ in range(count)]
            expected = inf
            for width in np.arange(0, 5, 0.5):
                losses = [sum(d > width for d in distances) / max(total, 1) for distances, total in cases]
                if count / (count + 1) * np.mean(losses) + 1 / (count + 1) <= risk + 1e-12:
                    expected = width
                    break
            width = controlled_width([FallingLoss.of_distances(*case) for case in cases], risk)
            assert width == expected
            assert (width == inf) == (count < fewest_cases(risk))


@pytest.mark.parametrize(("count", "risk"), [(9, 0.1), (20, 0.3)])
def test_the_loss_of_a_new_case_is_at_most_the_risk_on_average(count, risk):
    """Without slack, for with losses of 0 and 1 nothing is lost but what the correction takes."""
    draw, trials = np.random.default_rng(count), 800
    lost = []
    for _ in range(trials):
        losses = [FallingLoss.of_distances(draw.exponential(size=1), 1) for _ in range(count + 1)]
        lost.append(float(losses[-1].at(controlled_width(losses[:-1], risk))))
    error = 4 * np.sqrt(risk * (1 - risk) / trials)
    assert risk - 1 / (count + 1) - error <= np.mean(lost) <= risk + error
