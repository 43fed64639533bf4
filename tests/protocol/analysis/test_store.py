import json

import numpy as np
import pandas as pd
import pytest

from medssl.common.errors import InputError
from medssl.metrics.table import SCORE_COLUMNS
from medssl.protocol.analysis.store import COLUMNS, find_runs, long_table, require_comparable, unknown_columns
from tests.protocol.folders import sha256, write_run


def test_runs_are_found_at_any_depth_once_and_in_order(tmp_path):
    write_run(tmp_path / "b" / "deep" / "x", setting="Supervised", seed=2)
    write_run(tmp_path / "b" / "y", setting="Supervised", seed=1)
    write_run(tmp_path / "a", setting="TCSeg", labeled=2)
    runs = find_runs([tmp_path, tmp_path / "b", tmp_path / "a"])
    assert [(run.labeled, run.setting, run.seed) for run in runs] == [
        (2, "TCSeg", 1),
        (4, "Supervised", 1),
        (4, "Supervised", 2),
    ]


def test_setting_falls_back_to_the_method(tmp_path):
    write_run(tmp_path, setting="TCSeg w/o U(v)", method="TCSeg", record={"setting": None})
    assert find_runs([tmp_path])[0].setting == "TCSeg"


def test_long_table_holds_every_score_of_both_checkpoints(tmp_path):
    write_run(tmp_path / "1", dice_best=[[0.8, 0.6], [0.7, 0.5]], dice_last=[[0.75, 0.55], [0.65, 0.45]])
    table = long_table(find_runs([tmp_path]))
    assert tuple(table.columns) == COLUMNS
    assert len(table) == len(SCORE_COLUMNS) * 2 * 2 * 2  # metrics, checkpoints, cases, classes
    scores = table.query("metric == 'dice' and checkpoint == 'last' and case == 'case-02'")
    assert scores.set_index("class")["value"].to_dict() == {1: 0.65, 2: 0.45}
    assert set(table["selection"]) == {"validation"}


def test_values_are_read_back_to_the_last_digit(tmp_path):
    dice = [0.1 + 0.2, 1 / 3, 0.123456]
    write_run(tmp_path, dice_last=dice)
    table = long_table(find_runs([tmp_path])).query("metric == 'dice' and checkpoint == 'last'")
    assert list(table["value"]) == dice


def test_undefined_scores_stay_in_the_table_as_nan(tmp_path):
    write_run(tmp_path, metrics={"p_unc_inacc": [0.5, float("nan"), ""]})
    table = long_table(find_runs([tmp_path])).query("metric == 'p_unc_inacc' and checkpoint == 'last'")
    assert np.isnan(table["value"]).tolist() == [False, True, True]


@pytest.mark.parametrize(
    "lacking", [SCORE_COLUMNS[1:2], SCORE_COLUMNS[3:], ("unit", "empty", "reference_ml")]
)
def test_scores_that_lack_a_column_have_no_row_of_it_and_all_else(tmp_path, lacking):
    write_run(tmp_path / "old", setting="old", without=lacking)
    write_run(tmp_path / "new", setting="new")
    runs = find_runs([tmp_path])
    require_comparable(runs)
    table = long_table(runs)
    measured = table.groupby("method")["metric"].agg(set)
    assert measured["new"] == set(SCORE_COLUMNS)
    assert measured["old"] == set(SCORE_COLUMNS).difference(lacking)
    shared = table[table["metric"].isin(measured["old"])]
    old, new = (shared[shared["method"] == name].drop(columns="method") for name in ("old", "new"))
    pd.testing.assert_frame_equal(old.reset_index(drop=True), new.reset_index(drop=True))


def test_a_column_of_a_later_version_is_left_out(tmp_path):
    write_run(tmp_path, metrics={"elegance": ["high", "low", "none"]})
    runs = find_runs([tmp_path])
    assert unknown_columns(runs[0].scores("last")) == ["elegance"]
    assert set(long_table(runs)["metric"]) == set(SCORE_COLUMNS)


def test_validation_scores_are_kept_apart_from_test_scores(tmp_path):
    write_run(tmp_path)
    runs = find_runs([tmp_path])
    assert set(long_table(runs)["case"]) == {"case-01", "case-02", "case-03"}
    assert set(long_table(runs, subset="validation")["case"]) == {"validation-01", "validation-02"}


def test_a_case_called_na_is_a_case(tmp_path):
    write_run(tmp_path, cases=["NA", "nan", "01"])
    assert sorted(set(long_table(find_runs([tmp_path]))["case"])) == ["01", "NA", "nan"]


def test_numbers_of_unfinished_runs_are_not_used(tmp_path):
    write_run(tmp_path / "1", seed=1)
    write_run(tmp_path / "2", seed=2, status="failed")
    assert set(long_table(find_runs([tmp_path]))["seed"]) == {1}
    with pytest.raises(InputError, match="no finished run has test scores"):
        long_table(find_runs([tmp_path / "2"]))


def test_a_run_without_validation_has_no_best(tmp_path):
    write_run(tmp_path, selection="none")
    assert set(long_table(find_runs([tmp_path]))["checkpoint"]) == {"last"}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("run.json", "{", "cannot be read"),
        ("run.json", "[]", "not the record of a run"),
        ("run.json", json.dumps({"dataset": "toy"}), "'method' is None"),
        ("config.yaml", "a: [", "missing or damaged"),
        ("config.yaml", "just text", "holds no settings"),
        ("reliability_last.json", "{", "cannot be read as JSON"),
        ("reliability_last.json", "[]", "holds no reliability"),
    ],
)
def test_damaged_runs_are_named(tmp_path, name, content, fault):
    write_run(tmp_path)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=fault):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: "", "cannot be read as a CSV"),
        (lambda text: text.splitlines()[0] + "\n", "holds no case"),
        (lambda text: text.replace("case", "scan", 1), "has no column 'case'"),
        (lambda text: "case,class,rss\n1,1,0.5\n", "has no metric of a class"),
        (lambda text: text.replace("0.69,", "much,", 1), "column 'dice'.*much"),
        (lambda text: text + text.splitlines()[1] + "\n", "one row a case and class"),
    ],
)
def test_damaged_scores_are_named(tmp_path, change, fault):
    write_run(tmp_path)
    path = tmp_path / "cases_last.csv"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=fault) as caught:
        long_table(find_runs([tmp_path]))
    assert caught.value.where == str(path)


@pytest.mark.parametrize(("key", "value"), [("selection", "luck"), ("status", "done"), ("seed", "one")])
def test_records_with_unknown_values_are_refused(tmp_path, key, value):
    write_run(tmp_path, record={key: value})
    with pytest.raises(InputError, match=key):
        find_runs([tmp_path])


def test_folders_without_a_run_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no run\.json"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        find_runs([tmp_path / "nowhere"])


def test_runs_of_one_protocol_are_comparable(tmp_path):
    for labeled in (4, 8):
        for setting in ("TCSeg", "Supervised"):
            for seed in (1, 2):
                write_run(tmp_path / f"{labeled}{setting}{seed}", setting=setting, labeled=labeled, seed=seed)
    write_run(tmp_path / "other", dataset="other", dice_best=[0.5], dice_last=[0.5], policy={"unit": "voxel"})
    require_comparable(find_runs([tmp_path]))


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        ({"record": {"test_fingerprint": sha256("another")}}, r"test set \(test_fingerprint\)"),
        ({"record": {"split_sha256": sha256("another")}}, r"split \(split_sha256\)"),
        ({"policy": {"unit": "voxel"}}, r"metric policy \(unit of best\) \(voxel against mm\)"),
        ({"policy": {"nsd_tolerance": 2.0}}, r"nsd_tolerance of best\) \(2.0 against 1.0\)"),
        ({"policy": {"region": "box + 5 mm"}}, r"region of best"),
        ({"policy": {"empty": "left out"}}, r"empty of best"),
        ({"policy": {"evaluate_on": "validation"}}, r"evaluate_on of best"),
        (
            {"cases": ["case-01", "case-02", "case-04"]},
            "2 rows are in one of them only, such as case-03 class 1",
        ),
        ({"dice_last": [0.5, 0.5]}, r"test cases \(cases_last.csv\)"),
        ({"dice_last": [[0.5, 0.5]] * 3}, r"test cases \(cases_last.csv\)"),
    ],
)
def test_runs_that_differ_are_refused_with_both_names(tmp_path, second, difference):
    write_run(tmp_path / "first")
    write_run(tmp_path / "second", **{"setting": "other", **second})
    with pytest.raises(InputError, match=difference) as caught:
        require_comparable(find_runs([tmp_path]))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "first") in message
    assert str(tmp_path / "second") in message


def test_a_test_set_is_compared_across_labelled_counts_and_a_split_is_not(tmp_path):
    write_run(tmp_path / "1", labeled=4)
    write_run(tmp_path / "2", labeled=8)
    runs = find_runs([tmp_path])
    assert runs[0].record["split_sha256"] != runs[1].record["split_sha256"]
    require_comparable(runs)
    write_run(tmp_path / "2", labeled=8, record={"test_fingerprint": sha256("another")})
    with pytest.raises(InputError, match="test set"):
        require_comparable(find_runs([tmp_path]))


def test_what_is_not_stated_is_not_compared(tmp_path):
    write_run(tmp_path / "1", setting="a", record={"test_fingerprint": None})
    write_run(tmp_path / "2", setting="b")
    path = tmp_path / "1" / "reliability_last.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["policy"]
    path.write_text(json.dumps(content), encoding="utf-8")
    runs = find_runs([tmp_path])
    assert set(runs[0].policies["last"].values()) == {None}
    require_comparable(runs)
    scores = tmp_path / "1" / "cases_last.csv"
    scores.write_text(scores.read_text(encoding="utf-8").replace(",mm,", ",voxel,"), encoding="utf-8")
    with pytest.raises(InputError, match="unit of distances"):
        require_comparable(find_runs([tmp_path]))


@pytest.mark.parametrize("subset", ["", "_validation"])
def test_scores_of_another_split_than_the_runs_are_refused(tmp_path, subset):
    write_run(tmp_path)
    path = tmp_path / f"reliability_last{subset}.json"
    for split, refused in (("split toy 4", False), ("another split", True)):
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, "split_sha256": sha256(split)}), encoding="utf-8")
        if not refused:
            require_comparable(find_runs([tmp_path]))
    with pytest.raises(InputError, match="of another split than the training") as caught:
        require_comparable(find_runs([tmp_path]))
    assert caught.value.where == str(path)


def test_a_seed_twice_is_refused(tmp_path):
    write_run(tmp_path / "1")
    write_run(tmp_path / "2")
    with pytest.raises(InputError, match="is seed 1 of 'TCSeg' as"):
        require_comparable(find_runs([tmp_path]))


def test_unfinished_runs_do_not_spoil_a_comparison(tmp_path):
    write_run(tmp_path / "1")
    write_run(tmp_path / "2", status="interrupted", record={"split_sha256": sha256("another")})
    require_comparable(find_runs([tmp_path]))


def test_the_order_of_the_runs_does_not_matter(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path / str(seed), seed=seed, dice_last=[0.5 + seed / 100] * 3)
    runs = find_runs([tmp_path])
    pd.testing.assert_frame_equal(long_table(runs), long_table(runs[::-1]))
