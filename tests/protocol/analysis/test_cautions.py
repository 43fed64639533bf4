import numpy as np
import pytest

from medssl.protocol.analysis.cautions import Caution, find_cautions
from medssl.protocol.analysis.store import find_runs, long_table
from tests.protocol.folders import sha256, write_run

BASE = np.random.default_rng(0).uniform(0.5, 0.8, 10)


def cautions(folder):
    runs = find_runs([folder])
    return [
        Caution(*row) for row in find_cautions(runs, long_table(runs), resamples=200).itertuples(index=False)
    ]


def write_settings(folder, *, gain=0.1, noise=0.001, seeds=range(1, 6), cases=10, **second):
    """Supervised, and TCSeg that is better by the gain; ``second`` goes into the seed 2 of TCSeg."""
    random = np.random.default_rng(1)
    for setting, more in (("Supervised", 0.0), ("TCSeg", gain)):
        for seed in seeds:
            dice = np.round(BASE[:cases] + more + random.normal(0, noise, cases), 6).tolist()
            changed = second if (setting, seed) == ("TCSeg", 2) else {}
            where = folder / f"{setting}-{seed}"
            write_run(where, setting=setting, seed=seed, **({"dice_best": dice, "dice_last": dice} | changed))


def only(rows, kind):
    assert [row.kind for row in rows] == [kind], rows
    return rows[0]


def test_five_clean_seeds_and_a_clear_difference_need_no_caution(tmp_path):
    write_settings(tmp_path)
    assert cautions(tmp_path) == []


def test_fewer_than_five_seeds(tmp_path):
    write_settings(tmp_path, seeds=range(1, 5))
    rows = cautions(tmp_path)
    assert [(row.setting, row.kind, row.text) for row in rows] == [
        ("Supervised", "few seeds", "4 of at least 5 runs"),
        ("TCSeg", "few seeds", "4 of at least 5 runs"),
    ]


def test_oracle_selection_and_rules_that_differ(tmp_path):
    write_settings(tmp_path, selection="test-oracle")
    rows = cautions(tmp_path)
    assert [(row.setting, row.kind) for row in rows] == [
        ("", "mixed selection"),
        ("TCSeg", "oracle selection"),
    ]
    assert rows[1].text == "best was chosen on the test cases themselves in seed 2"


def test_a_difference_that_the_cases_leave_open(tmp_path):
    write_settings(tmp_path, gain=0.001, noise=0.05)
    rows = [row for row in cautions(tmp_path) if row.kind == "few test cases"]
    assert len(rows) == 2  # best and last
    assert "10 cases leave that open: 95% interval over cases -0.0" in rows[0].text
    assert rows[0].text.endswith(" wide")


def test_a_difference_narrower_than_its_interval_and_signed_for_the_leader(tmp_path):
    # Differences of 0 and 0.03 by case: the mean 0.015 is surely above 0, and known no better than to itself.
    for seed in range(1, 6):
        worse = np.round(BASE, 6)
        better = worse + np.array([0.0, 0.03] * 5)
        write_run(tmp_path / f"a{seed}", setting="a", seed=seed, dice_best=worse, dice_last=worse)
        write_run(tmp_path / f"b{seed}", setting="b", seed=seed, dice_best=better, dice_last=better)
    rows = cautions(tmp_path)
    assert {row.kind for row in rows} == {"few test cases"}
    assert rows[1].text.startswith("b minus a is +0.0150 dice (last); 10 cases leave that open")
    low, high = (float(word) for word in rows[1].text.split("over cases ")[1].split(",")[0].split(" to "))
    assert 0 < low < 0.015 < high


def test_a_difference_that_the_runs_leave_open(tmp_path):
    for seed, luck in enumerate((-0.1, -0.05, 0, 0.05, 0.1), 1):
        write_run(
            tmp_path / f"a{seed}", setting="a", seed=seed, dice_best=None, dice_last=BASE, selection="none"
        )
        dice = np.round(BASE + 0.01 + luck, 6)
        write_run(
            tmp_path / f"b{seed}", setting="b", seed=seed, dice_best=None, dice_last=dice, selection="none"
        )
    row = only(cautions(tmp_path), "few runs")
    assert row.text.startswith("b minus a is +0.0100 dice (last); the runs leave that open")


def test_too_few_cases_for_any_test(tmp_path):
    write_settings(tmp_path, cases=4)
    row = only(cautions(tmp_path), "few test cases")
    assert row.text == "with 4 cases no signed-rank test can give a p below 0.125"


def test_empty_predictions_are_counted_and_named(tmp_path):
    dice = [0.0, *np.round(BASE[1:] + 0.1, 6)]
    write_settings(tmp_path, dice_last=dice, empty={"case-01": "prediction", "case-02": "reference"})
    rows = [row for row in cautions(tmp_path) if row.kind == "empty prediction"]
    assert [(row.setting, row.text) for row in rows] == [
        ("TCSeg", "1 of 50 masks of best are empty and count as the worst value: case-01 (seed 2)"),
        ("TCSeg", "1 of 50 masks of last are empty and count as the worst value: case-01 (seed 2)"),
    ]


def test_metrics_that_older_scores_lack_and_columns_that_nobody_knows(tmp_path):
    write_settings(tmp_path, without=["nsd"], metrics={"elegance": [1.0] * 10})
    rows = cautions(tmp_path)
    assert [(row.setting, row.kind, row.text) for row in rows] == [
        ("TCSeg", "missing metric", "scored before nsd was measured, in seed 2: score again to fill it"),
        ("TCSeg", "unknown column", "elegance, in the scores of seed 2, is no metric known here: left out"),
    ]


def test_missing_seeds(tmp_path):
    write_settings(tmp_path)
    write_run(tmp_path / "more", setting="Supervised", seed=7, dice_best=BASE, dice_last=BASE)
    row = only(cautions(tmp_path), "missing run")
    assert (row.setting, row.text) == ("TCSeg", "no run with seed 7, which other settings have")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("failed", "seed 2 is failed: RuntimeError: out of memory"),
        ("running", "seed 2 is interrupted"),  # nobody trains it any more
        ("interrupted", "seed 2 is interrupted"),
    ],
)
def test_unfinished_runs(tmp_path, status, text):
    write_settings(tmp_path, status=status)
    few, unfinished = cautions(tmp_path)
    assert (few.kind, few.text) == ("few seeds", "4 of at least 5 runs")
    assert unfinished.kind == "unfinished run"
    assert unfinished.text.startswith(text)


def test_finished_runs_without_scores(tmp_path):
    write_settings(tmp_path, dice_last=None)
    row = only(cautions(tmp_path), "unscored run")
    assert row.text.startswith("seed 2 has no test scores of last")


def test_versions_and_commits(tmp_path):
    record = {"versions": {"torch": "2.6.0"}, "git_commit": "f" * 40 + "-dirty"}
    write_settings(tmp_path, record=record)
    by_kind = {row.kind: row for row in cautions(tmp_path)}
    assert set(by_kind) == {"versions", "commits", "local changes"}
    assert by_kind["versions"].text == "runs were made with different versions: torch 2.13.0, 2.6.0"
    assert by_kind["commits"].text == "runs come from 2 commits: 0123456789, ffffffffff-dirty"
    assert by_kind["local changes"].text.startswith("1 of 10 runs")
    assert {row.setting for row in by_kind.values()} == {""}


def test_fingerprints_and_policies_that_are_not_stated(tmp_path):
    write_settings(tmp_path, record={"test_fingerprint": None})
    row = only(cautions(tmp_path), "no fingerprint")
    assert row.text == "nothing shows that seed 2 had the same test files as others"
    write_settings(tmp_path, policy={"unit": None})
    assert only(cautions(tmp_path), "no policy").setting == "TCSeg"


def test_seeds_that_differ_in_more_than_the_seed(tmp_path):
    config = {"max_steps": 500, "method_options": {"seed": 9, "ramp": 3}, "datalist_file": "elsewhere.json"}
    write_settings(tmp_path, config=config)
    row = only(cautions(tmp_path), "configuration")
    assert row.text == "the seeds differ in more than the seed: max_steps, method_options.ramp"


def test_seeds_that_read_different_files(tmp_path):
    write_settings(tmp_path, record={"dataset_fingerprint": sha256("corrected")})
    assert only(cautions(tmp_path), "data").setting == "TCSeg"
