import inspect

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from medssl.common.errors import InputError
from medssl.protocol.analysis import comparison
from medssl.protocol.analysis.comparison import (
    COMPARISON,
    compare_settings,
    holm,
    probability_of_improvement,
    simultaneous_intervals,
    wilcoxon_over_cases,
)
from tests.protocol.printed_tables import long, shuffled

RANDOM = np.random.default_rng(0)
BASE = RANDOM.uniform(0.5, 0.9, 20)
WORSE = np.round(BASE + RANDOM.normal(0, 0.02, (5, 20)), 6)
BETTER = np.round(BASE + 0.05 + RANDOM.normal(0, 0.02, (5, 20)), 6)


@pytest.mark.parametrize("seed", range(2))
def test_holm_is_that_of_statsmodels(seed):
    p_values = np.random.default_rng(seed).uniform(0, 0.2, 12).round(2)  # with ties
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-12)


def test_holm_by_hand_and_without_nan():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.6])), [0.02, np.nan, 0.6])
    assert holm(np.array([])).shape == (0,)


def test_probability_of_improvement_by_hand():
    assert probability_of_improvement(np.array([2.0, 4.0]), np.array([1.0, 3.0])) == 0.75
    assert (
        probability_of_improvement(np.array([2.0, 4.0]), np.array([1.0, 3.0]), lower_is_better=True) == 0.25
    )
    assert probability_of_improvement(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5
    assert probability_of_improvement(np.array([2.0, np.nan]), np.array([1.0])) == 1
    assert np.isnan(probability_of_improvement(np.array([np.nan]), np.array([1.0])))
    assert probability_of_improvement(np.array([0.1 + 0.2]), np.array([0.3])) == 0.5


def test_probability_of_improvement_is_the_mann_whitney_statistic():
    a, b = RANDOM.integers(0, 6, 9).astype(float), RANDOM.integers(0, 6, 7).astype(float)
    expected = stats.mannwhitneyu(a, b).statistic / 63
    assert probability_of_improvement(a, b) == pytest.approx(expected)
    assert probability_of_improvement(a, b) + probability_of_improvement(b, a) == pytest.approx(1)


def test_the_test_is_scipys_over_cases():
    a, b = BETTER.mean(0), WORSE.mean(0)
    row = compare_settings(long({"a": BETTER, "b": WORSE})).iloc[0]
    assert row["p"] == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-9)
    assert row["cases"] == 20


def test_scores_that_are_equal_as_written_are_ties():
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in the last bit; their means must not be ranked.
    a = np.array([[0.1, 0.9], [0.2, 0.5], [0.3, 0.5]]).mean(0)
    b = np.array([[0.3, 0.5], [0.2, 0.5], [0.1, 0.5]]).mean(0)
    assert a[0] != b[0]
    assert wilcoxon_over_cases(a, b) == 1.0  # one pair that differs


def test_degenerate_tests():
    assert wilcoxon_over_cases(np.array([0.5, 0.6]), np.array([0.5, 0.6])) == 1.0
    assert np.isnan(wilcoxon_over_cases(np.array([np.nan]), np.array([0.5])))
    with_ties = wilcoxon_over_cases(np.array([np.nan, *BASE[:8]]), np.array([0.5, *(BASE[:8] - 0.1)]))
    assert with_ties == pytest.approx(2 / 2**8)


def test_nothing_can_be_tested_over_seeds():
    # Five seeds, however clear: 2 / 2 ** 5. So nothing here takes runs for the pairs of a test.
    assert stats.wilcoxon(np.arange(1.0, 6.0)).pvalue == 0.0625
    row = compare_settings(long({"a": BETTER[:, :1], "b": WORSE[:, :1]})).iloc[0]
    assert row["cases"] == 1
    assert row["p"] == 1
    for function in (compare_settings, wilcoxon_over_cases):
        assert "seeds" not in inspect.signature(function).parameters
    assert "Nothing is tested over seeds" in str(comparison.__doc__)


def test_difference_and_intervals():
    row = compare_settings(long({"a": BETTER, "b": WORSE})).iloc[0]
    assert row["difference"] == pytest.approx(BETTER.mean() - WORSE.mean())
    assert row["better"] == "a"
    assert row["low"] <= row["cases_low"] < row["difference"] < row["cases_high"] <= row["high"]
    scipys = stats.bootstrap(
        (BETTER.mean(0) - WORSE.mean(0),), np.mean, n_resamples=20_000, method="percentile", rng=RANDOM
    ).confidence_interval
    ours = compare_settings(long({"a": BETTER, "b": WORSE}), resamples=20_000).iloc[0]
    atol = 0.03 * (scipys.high - scipys.low)
    np.testing.assert_allclose([ours["cases_low"], ours["cases_high"]], scipys, atol=atol)


def test_a_smaller_distance_is_the_better_one():
    row = compare_settings(long({"a": [[3.0, 4.0]], "b": [[5.0, 6.0]]}, metric="assd")).iloc[0]
    assert (row["difference"], row["better"], row["probability"]) == (-2.0, "a", 1.0)


def test_equal_settings_are_neither_better():
    row = compare_settings(long({"a": WORSE, "b": WORSE[::-1]})).iloc[0]
    assert row["better"] == ""
    assert row["p"] == 1
    assert row["probability"] == 0.5
    assert row["cases_low"] == pytest.approx(0, abs=1e-12)
    assert row["low"] < 0 < row["high"]


def test_every_pair_once_or_everything_against_a_baseline():
    table = long({"c": WORSE, "a": BETTER, "b": WORSE + 0.01})
    pairs = compare_settings(table)
    assert list(zip(pairs["a"], pairs["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    against = compare_settings(table, baseline="b")
    assert list(zip(against["a"], against["b"], strict=True)) == [("a", "b"), ("c", "b")]
    with pytest.raises(InputError, match="did you mean"):
        compare_settings(long({"TCSeg": WORSE}), baseline="TCSag")


def test_a_family_spans_data_sets_and_not_metrics():
    two = [long({"a": BETTER, "b": WORSE}, dataset=name) for name in ("x", "y")]
    first = long({"a": BETTER, "b": WORSE}, metric="nsd")
    pairs = compare_settings(pd.concat([*two, first]))
    dice, nsd = pairs[pairs["metric"] == "dice"], pairs[pairs["metric"] == "nsd"]
    np.testing.assert_allclose(dice["p_holm"], 2 * dice["p"])
    np.testing.assert_allclose(nsd["p_holm"], nsd["p"])


def test_order_of_rows_and_other_methods_change_nothing():
    table = long({"a": BETTER, "b": WORSE, "c": WORSE + 0.01})
    pairs = compare_settings(table)
    pd.testing.assert_frame_equal(pairs, compare_settings(shuffled(table)), check_exact=True)
    of_the_table = ["p_holm", "simultaneous_low", "simultaneous_high"]
    alone = compare_settings(long({"a": BETTER, "b": WORSE})).drop(columns=of_the_table)
    pd.testing.assert_frame_equal(pairs.iloc[:1].drop(columns=of_the_table), alone, check_exact=True)
    pd.testing.assert_frame_equal(pairs, compare_settings(table), check_exact=True)
    assert compare_settings(table, seed=1)["low"].iloc[0] != pairs["low"].iloc[0]


@pytest.mark.parametrize("pairs", [1, 3, 10])
def test_simultaneous_intervals_of_independent_differences_are_the_maximum_of_so_many_normals(pairs):
    random = np.random.default_rng(pairs)
    observed, spread = random.normal(size=pairs), random.uniform(0.5, 2, pairs)
    drawn = observed + spread * random.normal(size=(100_000, pairs))
    low, high = simultaneous_intervals(observed, drawn).T
    factor = stats.norm.ppf((1 + 0.95 ** (1 / pairs)) / 2)
    np.testing.assert_allclose(high - observed, factor * spread, rtol=0.02)
    np.testing.assert_allclose(observed - low, high - observed, rtol=1e-9)


def test_differences_that_go_together_cost_nothing():
    drawn = np.repeat(np.random.default_rng(0).normal(size=(50_000, 1)), 8, axis=1)
    spans = simultaneous_intervals(np.zeros(8), drawn)
    np.testing.assert_allclose(spans[:, 1], stats.norm.ppf(0.975), rtol=0.02)


def test_a_difference_that_never_changes_is_its_own_interval_and_nan_counts_for_nothing():
    drawn = np.full((500, 3), 0.25)
    drawn[:, 1] = np.random.default_rng(0).normal(size=500)
    drawn[:, 2] = np.nan
    spans = simultaneous_intervals(np.array([0.25, 0.0, np.nan]), drawn)
    assert spans[0].tolist() == [0.25, 0.25]
    assert spans[1, 1] == pytest.approx(1.96, rel=0.1)
    assert np.isnan(spans[2]).all()


def test_with_two_runs_nothing_is_said_of_how_runs_differ():
    pairs = compare_settings(long({"a": BETTER, "b": WORSE, "few": WORSE[:2]})).set_index(["a", "b"])
    assert pairs["simultaneous_low"].isna().tolist() == [False, True, True]
    alone = compare_settings(long({"a": BETTER, "b": WORSE}))
    assert pairs["simultaneous_low"].iloc[0] == alone["simultaneous_low"].iloc[0]


def test_simultaneous_intervals_are_wider_and_about_the_difference():
    random = np.random.default_rng(0)
    pairs = compare_settings(long({name: random.normal(size=(5, 20)) for name in "abcdef"}))
    middle = (pairs["simultaneous_low"] + pairs["simultaneous_high"]) / 2
    np.testing.assert_allclose(middle, pairs["difference"], atol=1e-12)
    assert (pairs["simultaneous_high"] - pairs["simultaneous_low"] > pairs["high"] - pairs["low"]).all()


def test_one_setting_gives_an_empty_table():
    assert list(compare_settings(long({"a": WORSE})).columns) == COMPARISON
    assert compare_settings(long({"a": WORSE})).empty


def test_a_metric_that_is_nowhere_defined_is_compared_with_nothing():
    table = long({"a": np.full((2, 3), np.nan), "b": WORSE[:2, :3]}, metric="p_unc_inacc")
    row = compare_settings(table).iloc[0]
    assert row[["difference", "low", "probability", "p", "p_holm"]].isna().all()
    assert (row["better"], row["cases"]) == ("", 0)
