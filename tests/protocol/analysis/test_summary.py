import numpy as np
import pandas as pd
import pytest

from medssl.metrics.table import SCORE_COLUMNS, find_metric
from medssl.protocol.analysis.summary import best_last_gaps, run_values, summarize
from tests.protocol.printed_tables import long, shuffled

VALUES = np.random.default_rng(0).uniform(0.6, 0.9, (5, 6))


def row(summary: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        summary = summary[summary[name] == value]
    assert len(summary) == 1
    return summary.iloc[0]


def test_a_runs_value_is_the_mean_over_its_cases():
    values = run_values(long({"a": [[0.5, 0.7], [0.6, np.nan]]}))
    assert values[["seed", "value"]].to_dict("list") == {"seed": [1, 2], "value": [0.6, 0.6]}


def test_summary_by_hand():
    summary = row(summarize(long({"a": [[0.1], [0.4], [0.3], [0.2], [0.9]]})))
    assert (summary["runs"], summary["cases"], summary["missing"]) == (5, 1, 0)
    expected = {
        "median": 0.3,
        "maximum": 0.9,
        "minimum": 0.1,
        "best_run": 0.9,
        "worst_run": 0.1,
        "mean": 0.38,
        "std": np.sqrt(np.square(np.array([0.1, 0.4, 0.3, 0.2, 0.9]) - 0.38).sum() / 4),
        "iqm": 0.3,
    }
    for name, value in expected.items():
        assert summary[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("metric", [name for name in SCORE_COLUMNS if find_metric(name).lower_is_better])
def test_the_best_run_has_the_smallest_distance_or_error(metric):
    summary = row(summarize(long({"a": [[3.0], [5.0]]}, metric=metric)))
    assert (summary["best_run"], summary["worst_run"], summary["maximum"]) == (3.0, 5.0, 5.0)


def test_the_interval_holds_the_inter_quartile_mean():
    summary = row(summarize(long({"a": VALUES})))
    assert summary["iqm_low"] < summary["iqm"] < summary["iqm_high"]


def test_the_gap_is_of_the_same_run():
    best = long({"a": [[0.9], [0.8], [0.7]]}, checkpoint="best")
    last = long({"a": [[0.6], [0.7], [0.65], [0.1]]})
    table = pd.concat([best, last])
    gaps = best_last_gaps(table)
    assert gaps["seed"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(gaps["gap"], [0.3, 0.1, 0.05])
    summary = summarize(table)
    np.testing.assert_allclose(summary["best_last_gap"], [0.1, 0.1])
    assert np.isnan(row(summarize(last))["best_last_gap"])


def test_one_run_has_no_deviation_and_one_case_no_interval():
    summary = row(summarize(long({"a": [[0.7]]})))
    assert np.isnan(summary["std"])
    assert (summary["iqm"], summary["iqm_low"], summary["iqm_high"]) == (0.7, 0.7, 0.7)


def test_equal_scores_have_an_interval_of_no_width():
    summary = row(summarize(long({"a": np.full((5, 4), 0.25)})))
    assert (summary["std"], summary["iqm_low"], summary["iqm_high"]) == (0, 0.25, 0.25)


def test_undefined_scores_are_left_out_and_counted():
    values = VALUES.copy()
    values[0, 1] = values[3, 2] = np.nan
    summary = row(summarize(long({"a": values}, metric="p_unc_inacc")))
    assert summary["missing"] == 2
    assert summary["mean"] == pytest.approx(np.nanmean(values, axis=1).mean())
    nothing = row(summarize(long({"a": np.full((5, 4), np.nan)}, metric="p_unc_inacc")))
    assert nothing["missing"] == 20
    assert nothing[["median", "mean", "iqm", "iqm_low", "best_run"]].isna().all()


def test_order_of_rows_and_other_methods_change_nothing():
    table = long({"a": VALUES, "b": VALUES[::-1] ** 2})
    summary = summarize(table)
    pd.testing.assert_frame_equal(summary, summarize(shuffled(table)), check_exact=True)
    alone = summarize(long({"a": VALUES}))
    pd.testing.assert_frame_equal(summary[summary["method"] == "a"], alone, check_exact=True)


def test_the_seed_decides_the_interval():
    table = long({"a": VALUES})
    pd.testing.assert_frame_equal(summarize(table, seed=3), summarize(table, seed=3), check_exact=True)
    assert summarize(table, seed=3)["iqm_low"].item() != summarize(table, seed=4)["iqm_low"].item()


def test_classes_apart():
    values = np.stack([VALUES, VALUES / 2], axis=-1)
    table = pd.concat([long({"a": values}), long({"a": values}, metric="ece")])
    by_class = summarize(table, by_class=True)
    assert set(by_class["metric"]) == {"dice"}
    assert by_class["class"].tolist() == [1, 2]
    np.testing.assert_allclose(by_class["mean"], [VALUES.mean(), VALUES.mean() / 2])
    assert row(summarize(table), metric="dice")["mean"] == pytest.approx(0.75 * VALUES.mean())


def test_selections_that_differ_are_joined():
    table = long({"a": VALUES})
    table.loc[table["seed"] == 2, "selection"] = "test-oracle"
    assert row(summarize(table))["selection"] == "test-oracle+validation"
