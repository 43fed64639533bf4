"""Does the order of a worklist follow the errors?"""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from medssl.common.errors import InputError
from medssl.review.triage import evaluate_review, found_in_front, measure_triage

from .scans import THRESHOLD, body, save_scan
from .test_package import item, package


def test_the_front_of_the_list_by_hand():
    priority, error = [0.9, 0.1, 0.5, 0.3], [0.8, 0.1, 0.2, 0.4]
    # Accepted first: 0.1, then 0.3, 0.5, 0.9.
    assert measure_triage(priority, error).aurc == pytest.approx(np.mean([0.1, 0.25, 0.7 / 3, 1.5 / 4]))
    assert found_in_front(priority, error, 0.5) == pytest.approx(1.0 / 1.5)
    assert found_in_front(priority, error) == pytest.approx(0.8 / 1.5)


def test_against_scipy_and_between_the_bounds():
    rng = np.random.default_rng(0)
    for _ in range(20):
        priority, error = rng.random(15).tolist(), rng.random(15).tolist()
        triage = measure_triage(priority, error)
        assert triage.rank_correlation == pytest.approx(stats.spearmanr(priority, error).statistic)
        assert triage.aurc >= triage.aurc_best - 1e-12
        assert triage.found_first <= triage.found_first_best + 1e-12
    perfect = measure_triage(error, error)
    assert perfect.aurc == perfect.aurc_best
    assert perfect.rank_correlation == pytest.approx(1)


@pytest.mark.slow
def test_random_order_has_the_mean_error_on_average():
    rng = np.random.default_rng(1)
    error = rng.random(10).tolist()
    areas = [measure_triage(rng.random(10).tolist(), error).aurc for _ in range(4000)]
    assert np.mean(areas) == pytest.approx(np.mean(error), abs=0.01)


@pytest.mark.parametrize("error", [[0.2, 0.2], [0.0, 0.0], [0.3]])
def test_degenerate_lists_have_no_correlation(error):
    triage = measure_triage([0.5] * len(error), error)
    assert math.isnan(triage.rank_correlation)
    assert triage.found_first_best in (0.5, 1.0)
    with pytest.raises(ValueError, match="one length"):
        measure_triage([], [])


@pytest.mark.slow
def test_a_review_folder_is_scored_against_references(tmp_path):
    (tmp_path / "labels").mkdir()
    items = []
    for number in (1, 2, 3):
        values = body((24, 20, 22), (1, 1, 1), number)
        scan = save_scan(tmp_path / f"c{number}.nii.gz", values, np.eye(4))
        items.append(item(scan, f"c{number}"))
        truth = (values > THRESHOLD).astype(np.uint8)
        truth[:, :, : 4 * number] = 0  # the more is missing, the larger the error
        if number < 3:
            nib.save(nib.Nifti1Image(truth, np.eye(4)), tmp_path / "labels" / f"c{number}.nii.gz")
    package(tmp_path / "out", items)
    triage = evaluate_review(tmp_path / "out", tmp_path / "labels")
    assert triage.cases == 2
    with (tmp_path / "out" / "triage.csv").open(encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    predicted, truth = (
        np.asarray(nib.load(p).dataobj)
        for p in (tmp_path / "out" / "c2_seg.nii.gz", tmp_path / "labels" / "c2.nii.gz")
    )
    expected = 1 - 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    assert float(rows["c2"]["error"]) == pytest.approx(expected, abs=1e-6)
    assert json.loads((tmp_path / "out" / "triage.json").read_text())["without_reference"] == ["c3"]
    assert (tmp_path / "out" / "triage.png").stat().st_size > 1000
    with pytest.raises(InputError, match="no such folder"):
        evaluate_review(tmp_path / "out", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label"):
        evaluate_review(tmp_path / "out", tmp_path / "empty")


def empty_and_good(folder):
    """A review of two scans: in the first nothing is bright enough to be triage; and their references."""
    (folder / "labels").mkdir()
    items = []
    for case, scale in (("missed", 0.4), ("good", 1.0)):
        values = body((24, 20, 22), (1, 1, 1), 1)
        truth = (values > THRESHOLD).astype(np.uint8)
        scan = save_scan(folder / f"{case}.nii.gz", values * scale, np.eye(4))
        nib.save(nib.Nifti1Image(truth, np.eye(4)), folder / "labels" / f"{case}.nii.gz")
        items.append(item(scan, case))
    package(folder / "out", items)
    return folder / "out"


def test_an_empty_prediction_ranks_first_and_counts_as_wholly_wrong(tmp_path):
    out = empty_and_good(tmp_path)
    assert not np.asarray(nib.load(out / "missed_seg.nii.gz").dataobj).any()
    triage = evaluate_review(out, tmp_path / "labels")
    assert (triage.cases, triage.mean_error) == (2, pytest.approx(0.5, abs=0.02))
    assert triage.aurc == triage.aurc_best < triage.aurc_random
    assert triage.rank_correlation == pytest.approx(1)
    assert triage.found_first == triage.found_first_best > 0.95
    with (out / "triage.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert (first["case"], first["priority"], first["error"]) == ("missed", "1.0", "1.0")
    assert (first["expected_dice"], first["boundary_uncertainty"]) == ("0.0", "")
    with (out / "worklist.csv").open(encoding="utf-8") as file:
        listed = next(csv.DictReader(file))
    assert (listed["case"], listed["rank"], listed["priority"]) == ("missed", "1", "1.0000")
    assert (listed["boundary_uncertainty"], float(listed["volume_ml left atrium"])) == ("", 0)
    page = (out / "index.html").read_text()
    assert page.index("<strong>missed") < page.index("<strong>good")
    assert "nothing predicted: left atrium" in page


def test_all_predictions_empty_have_no_order(tmp_path):
    out = empty_and_good(tmp_path)
    for path in (out / "good.json", out / "good_seg.nii.gz"):
        path.unlink()
    triage = evaluate_review(out, tmp_path / "labels")
    assert (triage.cases, triage.mean_error, triage.aurc) == (1, 1, 1)
    assert math.isnan(triage.rank_correlation)


def test_a_reference_on_another_grid_is_refused(tmp_path):
    out = empty_and_good(tmp_path)
    label = nib.load(tmp_path / "labels" / "missed.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[1:], np.eye(4)), tmp_path / "labels" / "missed.nii.gz")
    with pytest.raises(InputError, match="23 x 20 x 22"):
        evaluate_review(out, tmp_path / "labels")
