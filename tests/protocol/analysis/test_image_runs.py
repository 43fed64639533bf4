"""Statistics of runs of images: numbers that are pooled, under runs and images drawn again."""

import numpy as np
import pandas as pd
import pytest

from medssl.common.errors import InputError
from medssl.metrics import ImageSums
from medssl.protocol.analysis.bootstrap import Group, case_draws, groups, interval, run_draws
from medssl.protocol.analysis.cautions import find_cautions
from medssl.protocol.analysis.comparison import compare_settings
from medssl.protocol.analysis.pooled_runs import SUMS, PooledRun, case_weights
from medssl.protocol.analysis.ranking import rank_stability
from medssl.protocol.analysis.store import COLUMNS, find_runs, long_table, require_comparable
from medssl.protocol.analysis.summary import best_last_gaps, summarize
from tests.protocol.folders import write_run
from tests.protocol.image_folders import CLASSES, write_image_run

SKILLS = {"fixmatch": 1.6, "supervised": 1.2, "unimatch": 1.6}
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number, (setting, skill) in enumerate(SKILLS.items()):
        for seed in SEEDS:
            skewed = skill + 0.1 * ((seed + number) % 3)
            write_image_run(root / f"{setting}{seed}", setting=setting, seed=10 * number + seed, skill=skewed)
    return root


@pytest.fixture(scope="module")
def table(folder):
    return long_table(find_runs([folder]))


def test_the_long_table_holds_the_pooled_numbers_of_every_checkpoint(folder, table):
    assert list(table.columns) == [*COLUMNS, SUMS]
    assert set(table["case"]) == {"all images"}
    chosen = table[table["method"].eq("fixmatch") & table["seed"].eq(2) & table["checkpoint"].eq("last")]
    sums = ImageSums.load(folder / "fixmatch2" / "sums_last.npz")
    pooled = chosen[chosen["class"].eq(-1)].set_index("metric")["value"]
    assert pooled.to_dict() == {name: float(value[0]) for name, value in sums.pooled().items()}
    of_classes = chosen[chosen["metric"].eq("jaccard")].set_index("class")["value"]
    assert of_classes.to_dict() == dict(enumerate(sums.class_iou()[0]))


def test_a_run_is_its_pooled_number_and_never_a_mean_over_images(folder, table):
    summary = summarize(table, resamples=50).set_index(["method", "checkpoint", "metric"])
    for setting in SKILLS:
        files = [folder / f"{setting}{seed}" / "sums_best.npz" for seed in SEEDS]
        values = [float(ImageSums.load(file).pooled()["rss"][0]) for file in files]
        row = summary.loc[setting, "best", "rss"]
        assert row["median"] == np.median(values)
        assert (row["maximum"], row["best_run"]) == (max(values), max(values))
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["std"] == pytest.approx(np.std(values, ddof=1))
        assert (row["runs"], row["cases"]) == (3, 8)
    # The mean over the classes of their IoU is mIoU.
    iou, miou = (summary.xs(name, level="metric")["median"] for name in ("jaccard", "miou"))
    np.testing.assert_allclose(iou, miou, rtol=1e-12)
    gaps = best_last_gaps(table).query("metric == 'miou' and method == 'fixmatch'")
    assert summary.loc[("fixmatch", "best", "miou"), "best_last_gap"] == gaps["gap"].median()
    assert (gaps["gap"] != 0).all()


def test_iou_class_by_class(table):
    by_class = summarize(table, by_class=True, resamples=20)
    assert set(by_class["metric"]) == {"jaccard"}
    assert set(by_class["class"]) == set(range(CLASSES))
    one = by_class.query("method == 'unimatch' and checkpoint == 'last' and `class` == 2").iloc[0]
    rows = table.query(
        "method == 'unimatch' and checkpoint == 'last' and metric == 'jaccard' and `class` == 2"
    )
    assert one["mean"] == pytest.approx(rows["value"].mean())


@pytest.mark.parametrize("metric", ["miou", "ece", "rss", "p_unc_inacc_landgraf2025", "jaccard"])
def test_a_resample_pools_the_drawn_images_of_the_drawn_runs(folder, table, metric):
    ((group, methods),) = groups(table[table["metric"].eq(metric) & table["checkpoint"].eq("last")])
    scores = methods["supervised"]
    cases = case_draws(8, "toy_images", resamples=25, seed=0)
    runs = run_draws(3, group, "supervised", resamples=25, seed=0)
    drawn = scores.resampled(runs=runs, cases=cases)
    sums = [ImageSums.load(folder / f"supervised{seed}" / "sums_last.npz") for seed in SEEDS]
    for resample in range(25):
        for place in range(3):
            of_run = sums[runs[resample, place]]
            weights = np.bincount(cases[resample], minlength=8).astype(float)[None]
            if metric == "jaccard":
                expected = np.nanmean(of_run.class_iou(weights))
            else:
                expected = of_run.pooled(weights)[metric][0]
            assert drawn[resample, place] == pytest.approx(expected, abs=1e-12)
    assert scores.resampled().shape == (1, 3)
    np.testing.assert_array_equal(scores.resampled(runs=runs), scores.runs[runs])


def test_images_in_another_order_of_names_are_the_same_run(folder, table):
    sums = ImageSums.load(folder / "fixmatch1" / "sums_last.npz")
    turned = PooledRun(sums.arranged(sums.cases[::-1]))
    draws = case_draws(8, "x", resamples=5, seed=0)
    np.testing.assert_array_equal(turned.pooled(draws)["miou"], PooledRun(sums).pooled(draws)["miou"])
    assert turned.cases == tuple(sorted(sums.cases))


def test_what_is_remembered_is_of_the_draws_that_are_asked_for(folder):
    run = PooledRun(ImageSums.load(folder / "fixmatch1" / "sums_last.npz"))
    draws = [case_draws(8, name, resamples=6, seed=0) for name in ("a", "b")]
    first = [run.pooled(of)["ece"].copy() for of in draws]
    again = [run.pooled(of.copy())["ece"] for of in draws]
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(run.pooled()["ece"], run.sums.pooled()["ece"])


def test_weights_count_the_draws():
    np.testing.assert_array_equal(case_weights(np.array([[0, 2, 2], [1, 1, 1]])), [[1, 0, 2], [0, 3, 0]])


def test_differences_have_intervals_over_runs_and_images_and_no_test_over_images(table):
    pairs = compare_settings(table, baseline="supervised", resamples=400)
    chosen = pairs.query("metric == 'miou' and checkpoint == 'last'").set_index("a")
    assert list(chosen.index) == ["fixmatch", "unimatch"]
    assert chosen["p"].isna().all()
    assert chosen["p_holm"].isna().all()
    assert (chosen["cases"] == 8).all()
    for row in chosen.itertuples():
        assert row.simultaneous_low < row.difference < row.simultaneous_high
        assert row.low < row.difference < row.high
    assert (chosen["simultaneous_low"] > 0).all()  # skills that lie so far apart
    both = compare_settings(table, resamples=400)
    alike = both.query("a == 'fixmatch' and b == 'unimatch' and metric == 'miou' and checkpoint == 'last'")
    assert alike["simultaneous_low"].item() < 0 < alike["simultaneous_high"].item()


def test_the_order_of_settings_is_judged_by_pooled_numbers(table):
    ranks = rank_stability(table, resamples=100).query("metric == 'miou' and checkpoint == 'last'")
    assert ranks["method"].iloc[-1] == "supervised"
    assert ranks.set_index("method")["rank"]["supervised"] == 3


def test_the_bootstrap_covers_a_mean_iou_about_as_often_as_it_says():
    """Images of a population whose mIoU is known; one run, so that only images are luck."""
    random = np.random.default_rng(0)
    empty = {"bins": np.ones((40, 3, 16)), "principled": np.ones((40, 4))}
    empty |= {"landgraf2025": np.ones((40, 4)), "scores": np.ones((40, 3))}
    truth = np.array([0.6, 0.3])  # of two classes of different size
    covered = 0
    for trial in range(200):
        union = random.gamma(2.0, [[50.0, 10.0]], (40, 2)) + 1
        share = np.clip(truth + random.normal(0, 0.2, (40, 2)) * [[1, 0.5]], 0, 1)
        sums = {"intersection": union * share, "union": union, **empty}
        run = PooledRun(ImageSums([f"{n:02d}" for n in range(40)], sums))
        draws = case_draws(40, f"trial {trial}", resamples=300, seed=0)
        low, high = interval(run.pooled(draws)["miou"])
        covered += low <= truth.mean() <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_cautions_name_a_class_that_is_nowhere_predicted_and_no_image_that_lacks_one(tmp_path, folder):
    write_image_run(tmp_path / "a", setting="fixmatch", hidden_class=True)
    runs = find_runs([tmp_path])
    cautions = find_cautions(runs, long_table(runs), metric="miou", resamples=50)
    (best, last) = cautions[cautions["kind"].eq("empty prediction")]["text"]
    assert best == "best predicts class 3 in no image, which counts as an IoU of 0 (seed 1)"
    assert last.startswith("last predicts")
    runs = find_runs([folder])
    kinds = set(find_cautions(runs, long_table(runs), metric="miou", resamples=50)["kind"])
    assert not kinds & {"empty prediction", "missing metric", "no policy", "unknown column"}


def test_scans_and_images_in_one_report_are_refused_in_one_line(tmp_path):
    write_image_run(tmp_path / "a", setting="fixmatch")
    write_run(tmp_path / "b", setting="TCSeg")
    with pytest.raises(InputError, match=r"kind of scores .* report scans and images apart"):
        require_comparable(find_runs([tmp_path]))


def test_other_images_are_refused(tmp_path):
    write_image_run(tmp_path / "a", seed=1)
    write_image_run(tmp_path / "b", seed=2, names=[f"other {n}" for n in range(8)])
    with pytest.raises(InputError, match=r"differs from .* in its test cases"):
        require_comparable(find_runs([tmp_path]))


def test_sums_that_are_missing_or_of_other_scores_are_one_line(tmp_path):
    run = write_image_run(tmp_path / "a")
    other = write_image_run(tmp_path / "other", names=[f"other {n}" for n in range(8)])
    (other / "sums_last.npz").replace(run / "sums_last.npz")
    with pytest.raises(InputError, match=r"sums_last.npz: is of other images than the scores beside it"):
        long_table(find_runs([run]))
    (run / "sums_last.npz").unlink()
    with pytest.raises(InputError, match="score the checkpoint again"):
        long_table(find_runs([run]))


def test_the_order_of_rows_changes_nothing(table):
    mixed = table.sample(frac=1, random_state=0).reset_index(drop=True)
    pd.testing.assert_frame_equal(
        compare_settings(table, resamples=50), compare_settings(mixed, resamples=50)
    )
    assert next(groups(mixed))[0] == Group("toy_images", 4, "best", "jaccard")
