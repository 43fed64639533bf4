import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medssl.protocol.analysis.ranking import kendall_taus, rank_stability
from tests.protocol.printed_tables import long, shuffled

RANDOM = np.random.default_rng(0)
BASE = RANDOM.uniform(0.5, 0.9, 12)


def runs(gain: float, spread: float = 0.01) -> np.ndarray:
    return np.round(BASE + gain + RANDOM.normal(0, spread, (5, 12)), 6)


def test_taus_are_scipys():
    rankings = stats.rankdata(RANDOM.integers(0, 4, (30, 5)), axis=1)
    reference = np.array([1.0, 2.5, 2.5, 4.0, 5.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [stats.kendalltau(row, reference).statistic for row in rankings]
    np.testing.assert_allclose(kendall_taus(rankings, reference), expected, atol=1e-12)
    assert np.isnan(kendall_taus(np.ones((1, 5)), reference)).all()


def test_a_clear_order_is_stable():
    stability = rank_stability(long({"low": runs(0), "high": runs(0.2), "middle": runs(0.1)}))
    assert stability["method"].tolist() == ["high", "middle", "low"]
    assert stability["rank"].tolist() == [1, 2, 3]
    assert stability["first"].tolist() == [1, 0, 0]
    assert stability["same_ranking"].tolist() == [1, 1, 1]
    assert stability["kendall_tau"].tolist() == [1, 1, 1]
    assert stability["rank_low"].tolist() == stability["rank_high"].tolist() == [1, 2, 3]


def test_the_smallest_distance_ranks_first():
    stability = rank_stability(long({"a": runs(0.2), "b": runs(0)}, metric="hausdorff95"))
    assert stability["method"].tolist() == ["b", "a"]


def test_equal_settings_share_the_first_place():
    same = runs(0, spread=0)
    stability = rank_stability(long({"a": same, "b": same}))
    assert stability["rank"].tolist() == [1.5, 1.5]
    assert stability["first"].tolist() == [0.5, 0.5]
    assert stability["kendall_tau"].isna().all()


def test_a_lead_within_the_noise_is_not_stable():
    stability = rank_stability(long({"a": runs(0, 0.05), "b": runs(0, 0.05), "c": runs(0, 0.05)}))
    assert stability["first"].sum() == pytest.approx(1)
    assert stability["mean_rank"].sum() == pytest.approx(6)
    assert 0.1 < stability["same_ranking"].iloc[0] < 0.9
    assert stability["kendall_tau"].iloc[0] < 0.95


def test_order_of_rows_changes_nothing_and_the_seed_decides():
    table = long({"a": runs(0, 0.05), "b": runs(0, 0.05)})
    stability = rank_stability(table)
    pd.testing.assert_frame_equal(stability, rank_stability(shuffled(table)), check_exact=True)
    pd.testing.assert_frame_equal(stability, rank_stability(table), check_exact=True)
    assert rank_stability(table, seed=1)["first"].iloc[0] != stability["first"].iloc[0]


def test_what_has_no_value_or_no_rival_takes_no_part():
    table = long({"a": runs(0), "b": runs(0.2), "c": np.full((2, 12), np.nan)})
    assert rank_stability(table)["method"].tolist() == ["b", "a"]
    assert rank_stability(long({"a": runs(0)})).empty


def test_one_run_of_one_case_is_ranked():
    stability = rank_stability(long({"a": [[0.5]], "b": [[0.6]]}))
    assert stability["first"].tolist() == [1, 0]
