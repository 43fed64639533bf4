import warnings

import numpy as np
import pytest
from scipy import stats

from medssl.protocol.analysis.bootstrap import (
    Group,
    case_draws,
    groups,
    interquartile_mean,
    interval,
    nan_mean,
    resample_runs,
    run_draws,
)
from tests.protocol.printed_tables import long, shuffled

GROUP = Group("toy", 4, "last", "dice")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 20])
def test_interquartile_mean_is_scipys_trimmed_mean(count):
    values = np.random.default_rng(count).normal(size=(6, count))
    np.testing.assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25, axis=1), rtol=1e-12)


def test_interquartile_mean_by_hand_and_without_nan():
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, 3.0, 4.0])) == 3.0
    assert interquartile_mean(np.array([9.0, np.nan, 1.0, 2.0, 3.0, 4.0, np.nan])) == 3.0
    assert np.isnan(interquartile_mean(np.array([np.nan, np.nan])))


def test_nan_mean_leaves_nan_out_and_warns_of_nothing():
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(nan_mean(values, axis=1), [2.0, np.nan])


def test_resampled_runs_are_means_over_the_drawn_cases():
    random = np.random.default_rng(0)
    values = random.normal(size=(3, 4))
    values[1, 2] = np.nan
    runs, cases = random.integers(0, 3, (50, 3)), random.integers(0, 4, (50, 4))
    drawn = resample_runs(values, runs=runs, cases=cases)
    for k in range(50):
        for j in range(3):
            chosen = [v for v in values[runs[k, j], cases[k]] if not np.isnan(v)]
            expected = np.mean(chosen) if chosen else np.nan
            np.testing.assert_allclose(drawn[k, j], expected, rtol=1e-12)
    np.testing.assert_array_equal(
        resample_runs(values, runs=runs)[:, 0], nan_mean(values, axis=1)[runs[:, 0]]
    )
    assert resample_runs(values, cases=cases).shape == (50, 3)
    assert resample_runs(values).shape == (1, 3)


def test_where_only_runs_vary_the_interval_is_scipys_bootstrap_over_runs():
    of_runs = np.random.default_rng(1).normal(0.8, 0.02, 12)
    values = np.repeat(of_runs[:, None], 5, axis=1)
    runs = run_draws(12, GROUP, "a", resamples=20_000, seed=0)
    cases = case_draws(5, "toy", resamples=20_000, seed=0)
    ours = interval(interquartile_mean(resample_runs(values, runs=runs, cases=cases)))
    scipys = stats.bootstrap(
        (of_runs,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    np.testing.assert_allclose(ours, scipys, atol=0.03 * (scipys.high - scipys.low))


def test_where_only_cases_vary_the_interval_is_scipys_bootstrap_over_cases():
    # Runs that agree in every case add no knowledge of other cases: more of them narrow nothing.
    of_cases = np.random.default_rng(1).normal(0.8, 0.1, 15)
    values = np.repeat(of_cases[None], 8, axis=0)
    runs = run_draws(8, GROUP, "a", resamples=20_000, seed=0)
    cases = case_draws(15, "toy", resamples=20_000, seed=0)
    ours = interval(interquartile_mean(resample_runs(values, runs=runs, cases=cases)))
    scipys = stats.bootstrap(
        (of_cases,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    np.testing.assert_allclose(ours, scipys, atol=0.03 * (scipys.high - scipys.low))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    runs = run_draws(10, GROUP, "a", resamples=400, seed=0)
    cases = case_draws(30, "toy", resamples=400, seed=0)
    covered = 0
    for _ in range(300):
        values = random.normal(0, 1, (10, 1)) + random.normal(0, 2, 30) + random.normal(0, 1, (10, 30))
        low, high = interval(nan_mean(resample_runs(values, runs=runs, cases=cases), axis=1))
        covered += low <= 0 <= high
    assert 0.88 <= covered / 300 <= 0.99


def test_draws_depend_on_their_purpose_alone():
    drawn = run_draws(5, GROUP, "a", resamples=100, seed=0)
    np.testing.assert_array_equal(drawn, run_draws(5, GROUP, "a", resamples=100, seed=0))
    for other in (
        run_draws(5, GROUP, "b", resamples=100, seed=0),
        run_draws(5, GROUP, "a", resamples=100, seed=1),
        run_draws(5, GROUP._replace(labeled=8), "a", resamples=100, seed=0),
    ):
        assert (drawn != other).any()
    assert set(np.unique(drawn)) == {0, 1, 2, 3, 4}


def test_groups_are_matrices_over_the_same_cases_in_any_order_of_rows():
    table = long({"a": [[0.1, 0.2, 0.3]], "b": [[0.4, 0.5], [0.6, 0.7]]})
    ((group, methods),) = groups(shuffled(table))
    assert group == GROUP
    np.testing.assert_array_equal(methods["a"].values, [[0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(methods["b"].values, [[0.4, 0.5, np.nan], [0.6, 0.7, np.nan]])
    assert methods["b"].seeds == (1, 2)


def test_a_case_is_the_mean_of_its_classes():
    table = long({"a": [[[0.2, 0.4], [0.6, np.nan]]]})
    ((_, methods),) = groups(table)
    np.testing.assert_allclose(methods["a"].values, [[0.3, 0.6]])
    assert methods["a"].missing == 1
