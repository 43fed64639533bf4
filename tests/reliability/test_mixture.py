import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from medssl.reliability import TwoGaussians
from tests.reliability import agent_loops


def drawn(count, means=(0.2, 0.5), deviations=(0.05, 0.1), share=0.3, seed=0):
    """Scores of two groups; ``share`` is that of the upper one."""
    rng = np.random.default_rng(seed)
    upper = rng.random(count) < share
    return rng.normal(np.where(upper, means[1], means[0]), np.where(upper, deviations[1], deviations[0]))


def parts(mixture):
    return mixture.means, mixture.variances, mixture.weights


CASES = [
    {},
    {"share": 0.9, "deviations": (0.1, 0.02)},
    {"means": (0.4, 0.5), "deviations": (0.08, 0.08), "share": 0.5},
    {"means": (100.0, 100.3), "seed": 4},
]


@pytest.mark.parametrize("options", CASES)
def test_a_fit_is_that_of_loops(options):
    x = drawn(300, **options)
    ours = TwoGaussians.fit(torch.from_numpy(x))
    for values, expected in zip(parts(ours), agent_loops.two_gaussians(x), strict=True):
        torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-8, atol=1e-12)
    assert not ours.degenerate


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("options", CASES)
def test_a_fit_is_that_of_scikit_learn(options):
    mixture = pytest.importorskip("sklearn.mixture", exc_type=ImportError)
    x = drawn(5000, **options)
    start = np.sort(x)[[499, 4500]].reshape(-1, 1)
    theirs = mixture.GaussianMixture(
        2,
        tol=0,
        reg_covar=0,
        max_iter=20,
        weights_init=[0.5, 0.5],
        means_init=start,
        precisions_init=np.full((2, 1, 1), 1 / x.var()),
        random_state=0,
    )
    theirs.fit(x.reshape(-1, 1))
    ours = TwoGaussians.fit(torch.from_numpy(x))
    for values, expected in zip(
        parts(ours), (theirs.means_, theirs.covariances_, theirs.weights_), strict=True
    ):
        np.testing.assert_allclose(values, expected.ravel(), rtol=1e-9)
    at = np.linspace(x.min(), x.max(), 200)
    posterior = theirs.predict_proba(at.reshape(-1, 1))[:, 1]
    np.testing.assert_allclose(ours.posterior(torch.from_numpy(at)), posterior, atol=1e-9)


@pytest.mark.parametrize("options", CASES[:3])
def test_the_crossing_is_where_the_posterior_is_a_half(options):
    mixture = TwoGaussians.fit(torch.from_numpy(drawn(4000, **options)))
    low, high = mixture.means.tolist()

    def log_odds(x):
        logs = [
            math.log(w) + norm.logpdf(x, m, math.sqrt(v))
            for m, v, w in zip(*(part.tolist() for part in parts(mixture)), strict=True)
        ]
        return logs[1] - logs[0]

    assert float(mixture.crossing()) == pytest.approx(brentq(log_odds, low, high), abs=1e-9)
    assert float(mixture.posterior(mixture.crossing())) == pytest.approx(0.5, abs=1e-6)
    between = torch.linspace(low, high, 101, dtype=torch.float64)
    above = between > mixture.crossing()
    assert torch.equal(mixture.posterior(between) > 0.5, above)
    assert 0 < above.sum() < 101


def test_with_unequal_variances_a_value_far_below_is_of_the_wider_upper_component_but_below_the_crossing():
    mixture = TwoGaussians.fit(torch.from_numpy(drawn(20_000, deviations=(0.02, 0.2))))
    far = mixture.means[0] - 0.3
    assert mixture.posterior(far) > 0.5
    assert far < mixture.crossing()


@pytest.mark.parametrize(
    ("weights", "place"),
    [((1e-9, 1 - 1e-9), 0), ((1 - 1e-9, 1e-9), 1), ((0.5, 0.5), None)],
)
def test_where_one_component_wins_at_both_means_the_crossing_is_a_mean(weights, place):
    means = torch.tensor([0.2, 0.3], dtype=torch.float64)
    variances = torch.tensor([0.01, 0.01], dtype=torch.float64)
    mixture = TwoGaussians(means, variances, torch.tensor(weights, dtype=torch.float64), torch.tensor(100))
    expected = 0.25 if place is None else means[place]
    assert float(mixture.crossing()) == pytest.approx(float(expected))


def test_precision_is_that_of_float64_whatever_comes_in():
    x = torch.from_numpy(drawn(3000))
    exact = TwoGaussians.fit(x.float().double())
    for values, expected in zip(parts(TwoGaussians.fit(x.float())), parts(exact), strict=True):
        assert torch.equal(values, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = TwoGaussians.fit(x.float())
    assert torch.equal(again.means, exact.means)


@pytest.mark.parametrize("count", [1000, 30_000])
def test_only_what_is_valid_and_finite_counts(count):
    x = torch.from_numpy(drawn(count)).float()
    valid = torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.6
    expected = TwoGaussians.fit(x[valid])
    poisoned = torch.where(valid, x, 1e6)
    for ours in (
        TwoGaussians.fit(poisoned.view(10, -1), valid.view(10, -1)),
        TwoGaussians.fit(torch.where(valid, x, torch.nan)),
        TwoGaussians.fit(torch.where(valid, x, -torch.inf)),
    ):
        torch.testing.assert_close(ours.means, expected.means)
        torch.testing.assert_close(ours.variances, expected.variances)
        assert int(ours.samples) == min(int(valid.sum()), 20_000)


def test_of_many_values_a_part_that_is_spread_evenly_is_taken():
    x = torch.from_numpy(drawn(100_000))
    few, all_of_them = (TwoGaussians.fit(x, max_samples=n) for n in (5000, 100_000))
    assert (int(few.samples), int(all_of_them.samples)) == (5000, 100_000)
    torch.testing.assert_close(few.means, all_of_them.means, atol=0.01, rtol=0)
    assert torch.equal(few.means, TwoGaussians.fit(x, max_samples=5000).means)
    ordered = torch.arange(30_000) < 10_000  # the first third alone would be one group
    parted = TwoGaussians.fit(torch.where(ordered, 0.2, 0.8), max_samples=900)
    torch.testing.assert_close(parted.weights, torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))


@pytest.mark.parametrize(
    "x",
    [
        torch.full((50,), 0.3),
        torch.zeros(0),
        torch.tensor([0.5]),
        torch.full((9,), torch.nan),
        torch.tensor([0.2, 0.2005]).repeat(20),
        torch.cat([torch.full((1000,), 0.3), torch.tensor([0.9])]),
    ],
    ids=["constant", "none", "one", "nan", "gap", "weight"],
)
def test_what_is_no_two_groups_is_degenerate(x):
    mixture = TwoGaussians.fit(x)
    assert mixture.degenerate
    assert mixture.crossing().ndim == mixture.separation.ndim == 0


def test_two_values_are_two_groups_and_nothing_valid_is_none():
    assert not TwoGaussians.fit(torch.tensor([0.1, 0.6])).degenerate
    assert TwoGaussians.fit(torch.rand(40), torch.zeros(40, dtype=torch.bool)).degenerate


def test_the_separation_is_the_gap_in_deviations():
    mixture = TwoGaussians.fit(torch.from_numpy(drawn(50_000, deviations=(0.05, 0.05))), max_samples=50_000)
    assert float(mixture.separation) == pytest.approx(0.3 / 0.05, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"max_samples": 0}, "max_samples must be at least 1, got 0"),
        ({"variance_floor": 0}, "variance_floor must be above 0, got 0"),
        ({"valid": torch.ones(3)}, "valid must be bool"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TwoGaussians.fit(torch.rand(3), **options)
