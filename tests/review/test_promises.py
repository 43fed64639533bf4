"""Promises of a new prediction: fitted, kept, written with it, and measured."""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medssl.common.errors import InputError
from medssl.inference.temperature import TemperatureFit, save_temperature
from medssl.metrics import dice
from medssl.reliability.risk_control import FallingLoss, conformal_bound, controlled_width
from medssl.review import PackageOptions
from medssl.review.promise_fitting import ClassOutcome, fit_promises, part_for_temperature
from medssl.review.promise_words import promise_table, promise_words
from medssl.review.promises import ClassPromise, Promises, promises_from, stored_promises
from medssl.review.triage import evaluate_review

from .scans import AFFINES, SPACING, THRESHOLD, assert_same_geometry, body, save_scan
from .test_package import item, package


def outcome(draw, *, hard=0.0):
    """A case whose expected Dice is wrong by chance, and whose structure is missed in part."""
    true = float(np.clip(draw.beta(12, 3) - 0.3 * hard, 0, 1))
    expected = float(np.clip(true + draw.normal(0.02 + 0.1 * hard, 0.06), 0.01, 1))
    missed, wrong = (
        FallingLoss.of_distances(draw.exponential(2, size=draw.integers(0, 30)), 40) for _ in range(2)
    )
    return ClassOutcome(expected, true, missed, wrong)


def outcomes(draw, count):
    """Cases of two classes; the second is not predicted in a third of them, and follows the first."""
    cases = []
    for _ in range(count):
        hard = draw.random() < 0.2
        case = {1: outcome(draw, hard=hard)}
        cases.append(case | ({2: outcome(draw, hard=hard)} if draw.random() > 1 / 3 else {}))
    return cases


@pytest.mark.parametrize("jointly", [False, True])
def test_bounds_and_bands_hold_for_exchangeable_cases(jointly):
    draw, holds, missed = np.random.default_rng(5), {1: [], 2: [], "both": []}, {1: [], 2: []}
    for _ in range(120):
        promises = fit_promises(outcomes(draw, 30), risk=0.2, names=["a", "b"], jointly=jointly)
        for case in outcomes(draw, 6):
            held = {k: promises.dice_at_least(k, one.expected_dice) <= one.dice for k, one in case.items()}
            for label, one in case.items():
                holds[label].append(held[label])
                missed[label].append(one.missed.at(promises.of_class(label).outer_mm))
            holds["both"].append(all(held.values()))
    # Of 120 calibrations, whose own coverage deviates by 0.07, and of 6 cases each: four standard errors.
    error = 4 * math.sqrt((0.07**2 + 0.16 / 6) / 120)
    shares = {key: np.mean(values) for key, values in holds.items()}
    target = shares["both"] if jointly else min(shares[1], shares[2])
    assert target >= 0.8 - error
    assert target <= 0.8 + 1 / 20 + error
    assert max(np.mean(values) for values in missed.values()) <= 0.2 + 0.01
    if not jointly:  # of both at once it is promised nowhere, and does not hold
        assert shares["both"] < min(shares[1], shares[2]) - 0.02


def test_numbers_of_a_promise_by_hand():
    steps = [FallingLoss.of_distances(np.array(d), 10) for d in ([1.0, 2.0], [1.0], [], [3.0003] * 4)]
    cases = [
        {1: ClassOutcome(0.9, dice, loss, loss)}
        for dice, loss in zip((0.8, 0.95, 0.6, 0.85), steps, strict=True)
    ]
    one = fit_promises(cases, risk=0.4, names=["a"]).classes["a"]
    # Errors are -0.05, 0.05, 0.1, 0.3; rank ceil(5 x 0.6) = 3.
    assert one.overestimate == pytest.approx(0.1)
    assert one.cases == 4
    # Summed losses may be 0.4 x 5 - 1 = 1 at most: at 0 they are 0.2 + 0.1 + 0 + 0.4.
    assert (one.outer_mm, controlled_width(steps, 0.4)) == (0, 0)
    # 0.3 x 5 - 1 = 0.5 are what is left at 1: 0.1 + 0 + 0 + 0.4; and 0.25 not before 3.0003, rounded up.
    third, quarter = (fit_promises(cases, risk=risk, names=["a"]).classes["a"] for risk in (0.3, 0.25))
    assert (third.outer_mm, third.inner_mm, quarter.outer_mm) == (1.0, 1.0, 3.001)
    assert third.mean_dice == pytest.approx(0.8)
    promises = fit_promises(cases, risk=0.4, names=["a"])
    assert promises.dice_at_least(1, 0.7123456789) == pytest.approx(0.6123456)
    assert (promises.dice_at_least(1, 0.05), promises.dice_at_least(1, 1.2)) == (0, 1)
    assert math.isnan(promises.dice_at_least(1, math.nan))


def test_too_few_cases_are_refused_and_a_rare_class_has_no_promise():
    draw = np.random.default_rng(0)
    cases = outcomes(draw, 12)
    with pytest.raises(
        InputError, match=r"8 cases: too few for a risk of 0.1, which needs 9; .* at least 0.112"
    ):
        fit_promises(cases[:8], risk=0.1, names=["a", "b"])
    assert fit_promises(cases[:9], risk=0.1, names=["a", "b"]).classes["a"].overestimate is not None
    rare = [{k: v for k, v in case.items() if k == 1 or n < 4} for n, case in enumerate(cases)]
    promises = fit_promises(rare, risk=0.1, names=["a", "b"])
    assert promises.classes["b"].overestimate is promises.classes["b"].outer_mm is None
    assert math.isnan(promises.dice_at_least(2, 0.9))
    assert "too few: no bound and no band" in " ".join(promise_words(promises))
    assert "9 are needed" in promise_table(promises)
    with pytest.raises(InputError, match="in which a class is predicted"):
        fit_promises([{}] * 20, risk=0.1, names=["a", "b"])
    for risk in (0, 1, 10):
        with pytest.raises(InputError, match="not between 0 and 1"):
            fit_promises(cases, risk=risk, names=["a"])


def test_no_patient_fits_both_the_temperature_and_a_promise():
    items = [{"case": f"c{n}", "patient": f"p{n // 2}"} for n in range(30)]
    apart, others = part_for_temperature(items, 3)
    assert {one["patient"] for one in apart}.isdisjoint(one["patient"] for one in others)
    assert (len(apart), len(others)) == (6, 24)
    assert part_for_temperature(items, 3) == (apart, others)
    assert part_for_temperature(items, 4) != (apart, others)


NAMES = ("left atrium",)


def promised(settings=None, *, outer=2.0, inner=1.7):
    one = ClassPromise(12, 0.1, outer, inner, 0.9, 0.85)
    settings = settings or {
        "preprocessing": ["LoadCased", "CropForegroundd"],
        "orientation": None,
        "patch": [16, 16, 16],
        "stride": [12, 12, 12],
        "window_weights": "constant",
        "flips": [],
        "temperature": 1.0,
        "amp": "off",
        "keep_largest": [],
        "fill_holes": [],
    }
    return Promises(0.1, False, 12, {NAMES[0]: one}, settings, ("a caution",))


def test_promises_are_plain_data_beside_the_checkpoint(tmp_path):
    checkpoint = tmp_path / "last.pt"
    checkpoint.write_bytes(b"weights")
    assert stored_promises(checkpoint) is None
    fit = TemperatureFit(1.2, 3, 100, 0.1, 0.05, 0.3, 0.2)
    path = save_temperature(checkpoint, fit)
    assert "promises" not in json.loads(path.read_text())
    assert stored_promises(checkpoint) is None  # calibrated before there were any
    save_temperature(checkpoint, fit, promises=promised().plain(), overwrite=True)
    assert stored_promises(checkpoint) == promised()
    content = json.loads(path.read_text())
    del content["promises"]["risk"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged promises"):
        stored_promises(checkpoint)
    checkpoint.write_bytes(b"other weights")
    assert stored_promises(checkpoint) is None


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """An oblique scan of thick slices, and one in which nothing is predicted; with references."""
    folder = tmp_path_factory.mktemp("promised")
    (folder / "labels").mkdir()
    items = []
    for case, scale in (("c1", 1.0), ("empty", 0.4)):
        values = body((24, 22, 14), SPACING, 3)
        scan = save_scan(folder / f"{case}.nii.gz", values * scale, AFFINES["oblique"])
        truth = ndimage.binary_dilation(values > THRESHOLD, iterations=2).astype(np.uint8)
        nib.save(nib.Nifti1Image(truth, AFFINES["oblique"]), folder / "labels" / f"{case}.nii.gz")
        items.append(item(scan, case))
    package(folder / "out", items, promises=promised())
    return folder, items


def test_the_band_lies_where_the_scan_lies_and_reaches_as_far_as_it_says(reviewed):
    folder, _ = reviewed
    assert_same_geometry(folder / "out" / "c1_band-1.nii.gz", folder / "c1.nii.gz")
    band = np.asarray(nib.load(folder / "out" / "c1_band-1.nii.gz").dataobj)
    mask = np.asarray(nib.load(folder / "out" / "c1_seg.nii.gz").dataobj) > 0
    assert band.dtype == np.uint8
    # Distances between points of the patient's space, from the affine of the file.
    matrix = nib.load(folder / "c1.nii.gz").affine[:3, :3]
    places, inside = (np.argwhere(part) @ matrix.T for part in (band == 1, mask))
    assert max(np.linalg.norm(inside - place, axis=1).min() for place in places) <= 2.0 + 1e-4
    beyond = np.argwhere((band == 0) & ndimage.binary_dilation(mask, iterations=2)) @ matrix.T
    assert min(np.linalg.norm(inside - place, axis=1).min() for place in beyond) > 2.0
    np.testing.assert_array_equal(band >= 2, mask)
    assert {1, 2, 3} <= set(np.unique(band))
    assert not (folder / "out" / "empty_band-1.nii.gz").exists()


def test_side_car_worklist_and_page_say_what_is_promised_and_what_not(reviewed):
    folder, _ = reviewed
    car = json.loads((folder / "out" / "c1.json").read_text())
    of_class = car["statistics"]["classes"]["left atrium"]
    assert of_class["dice_at_least"] == pytest.approx(of_class["soft_overlap"] - 0.1, abs=2e-6)
    band = np.asarray(nib.load(folder / "out" / "c1_band-1.nii.gz").dataobj)
    assert of_class["band_ml"] == pytest.approx((band == 1).sum() * np.prod(SPACING) / 1000, rel=1e-4)
    assert promises_from(car["promises"], where="here") == promised()
    assert car["files"]["band 1"] == "c1_band-1.nii.gz"
    empty = json.loads((folder / "out" / "empty.json").read_text())["statistics"]["classes"]["left atrium"]
    assert empty["dice_at_least"] is empty["band_ml"] is None
    with (folder / "out" / "worklist.csv").open(encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert float(rows["c1"]["dice_at_least left atrium"]) == pytest.approx(
        of_class["dice_at_least"], abs=1e-4
    )
    assert rows["empty"]["dice_at_least left atrium"] == rows["empty"]["band_ml left atrium"] == ""
    page = (folder / "out" / "index.html").read_text()
    for words in (
        "in at least 90% of new cases the Dice reaches this bound",
        "at least 90% of the true structure on average",
        "left atrium: band 2.00 mm outwards and 1.70 mm inwards; from 12 cases",
        "same scanners",
        "of a single case nothing is certain",
        "from the top of this list",
        "missed wholly",
        "Caution: a caution.",
    ):
        assert words in page, words


def test_promises_are_kept_from_predictions_that_are_made_otherwise(reviewed, tmp_path, caplog):
    _, items = reviewed
    package(tmp_path / "other", items[:1], promises=promised(), temperature=1.5)
    assert "temperature 1.0, now 1.5" in caplog.text
    assert not list((tmp_path / "other").glob("*band*"))
    assert "promises" not in json.loads((tmp_path / "other" / "c1.json").read_text())
    assert "dice_at_least" not in (tmp_path / "other" / "worklist.csv").read_text()
    assert "Promises" not in (tmp_path / "other" / "index.html").read_text()
    package(tmp_path / "out", items[:1])
    with pytest.raises(InputError, match="another calibration"):
        package(tmp_path / "out", items, promises=promised(), options=PackageOptions(resume=True))


def test_promised_and_reached_stand_side_by_side(reviewed):
    folder, _ = reviewed
    triage = evaluate_review(folder / "out", folder / "labels")
    (reached,) = triage.promises
    predicted, truth, band = (
        np.asarray(nib.load(path).dataobj)
        for path in (
            folder / "out" / "c1_seg.nii.gz",
            folder / "labels" / "c1.nii.gz",
            folder / "out" / "c1_band-1.nii.gz",
        )
    )
    bound = json.loads((folder / "out" / "c1.json").read_text())["statistics"]["classes"]["left atrium"]
    assert (reached.name, reached.cases, reached.promised) == ("left atrium", 1, 0.9)
    assert reached.mean_bound == bound["dice_at_least"]
    assert reached.mean_dice == pytest.approx(dice(predicted, truth), abs=1e-6)
    assert reached.bounds_hold == float(dice(predicted, truth) >= bound["dice_at_least"])
    assert reached.captured == pytest.approx(((truth > 0) & (band > 0)).sum() / truth.sum())
    assert 0 < reached.captured < 1
    assert reached.wrong_core == pytest.approx(((truth == 0) & (band == 3)).sum() / predicted.sum())
    assert "promised 90.0%" in str(triage)
    stored = json.loads((folder / "out" / "triage.json").read_text())
    assert stored["promises"][0]["mean_bound"] == reached.mean_bound
    with (folder / "out" / "triage.csv").open(encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert float(rows["c1"]["captured left atrium"]) == reached.captured
    assert rows["empty"]["captured left atrium"] == ""


def test_of_several_classes_at_once_the_words_promise_only_what_was_asked_for():
    draw = np.random.default_rng(0)
    cases = outcomes(draw, 20)
    each, both = (
        fit_promises(cases, risk=0.2, names=["a", "b"], jointly=jointly) for jointly in (False, True)
    )
    assert "less often than each by itself" in " ".join(promise_words(each))
    assert "less often" not in " ".join(promise_words(both))
    assert "all classes of a case at once" in promise_words(both)[0]
    assert both.classes["a"].overestimate == both.classes["b"].overestimate
    assert both.classes["a"].overestimate >= each.classes["a"].overestimate
    # Through the worst class of each case.
    errors = [max(one.expected_dice - one.dice for one in case.values()) for case in cases]
    assert both.classes["a"].overestimate == conformal_bound(errors, 0.2)
    width = both.classes["b"].outer_mm
    for just, holds in ((width, True), (width - 0.01, False)):
        missed = [max(float(one.missed.at(just)) for one in case.values()) for case in cases]
        assert ((sum(missed) + 1) / (len(missed) + 1) <= 0.2 + 1e-9) == holds


def test_a_sheared_scan_has_a_bound_and_no_band_in_mm(tmp_path):
    matrix = np.diag([*SPACING, 1.0])
    matrix[0, 1] = 0.3
    image = nib.Nifti1Image(body((24, 22, 14), SPACING, 3), matrix)
    image.set_sform(matrix, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    package(tmp_path / "out", [item(tmp_path / "scan.nii.gz")], promises=promised())
    car = json.loads((tmp_path / "out" / "c1.json").read_text())
    assert car["statistics"]["classes"]["left atrium"]["dice_at_least"] > 0.5
    assert car["statistics"]["classes"]["left atrium"]["band_ml"] is None
    assert "no band" in " ".join(car["warnings"])
    assert not list((tmp_path / "out").glob("*band*"))
