"""A model on corrupted scans: a table of values and of what was lost."""

import json

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose

from medssl.common.errors import InputError
from medssl.data import LoadCased
from medssl.evaluation.scan_robustness import CLEAN, MEASURES, cells_of, measure_robustness, robustness_rows
from medssl.inference.predictor import Predictor
from medssl.reports.robustness import markdown
from medssl.reports.robustness_figure import write_radar

from ..review.scans import AFFINES, SPACING, THRESHOLD, Threshold, body, save_scan

IDENTITY = {"model": "threshold", "seed": 0}


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    listed = []
    for number in (1, 2):
        values = body((30, 28, 24), SPACING, number)
        scan = save_scan(folder / f"c{number}.nii.gz", values, AFFINES["oblique"])
        label = folder / f"l{number}.nii.gz"
        nib.save(nib.Nifti1Image((values > THRESHOLD).astype(np.uint8), AFFINES["oblique"]), label)
        listed.append({"case": f"c{number}", "image": str(scan), "label": str(label)})
    return listed


def measure(folder, cells, items, identity=IDENTITY, **options):
    predictor = Predictor(
        [Threshold()], num_classes=2, patch=(16,) * 3, stride=(16,) * 3, keep_probabilities=True
    )
    settings = {
        "transform": Compose([LoadCased("image")]),
        "predictor": predictor,
        "reference": LoadCased("label"),
        **options,
    }
    return measure_robustness(folder, cells, items, identity=identity, **settings)


def test_clean_scans_are_right_and_corrupted_ones_are_not(tmp_path, items):
    cells = cells_of(["noise", "gamma"], [1, 5])
    assert cells == [CLEAN, ("noise", 1), ("noise", 5), ("gamma", 1), ("gamma", 5)]
    results = measure(tmp_path, cells, items)
    assert results[CLEAN]["dice"] == 1
    for name in ("noise", "gamma"):
        assert 1 > results[name, 1]["dice"] > results[name, 5]["dice"]
        assert results[name, 5]["rss"] < 1
    rows = robustness_rows("threshold", results)
    assert [row["corruption"] for row in rows] == [
        "clean",
        *["noise"] * 2,
        *["gamma"] * 2,
        "mean of corruptions",
    ]
    for row in rows[1:]:
        assert row["dice - clean"] == pytest.approx(row["dice"] - 1, abs=2e-4)
    mean = np.mean([results[cell]["dice"] for cell in cells[1:]])
    assert rows[-1]["dice"] == pytest.approx(mean, abs=1e-4)
    text = markdown(rows)
    assert len(text.splitlines()) == 2 + len(rows)
    assert f"({rows[-1]['dice - clean']:+.3f})" in text
    write_radar(tmp_path / "radar.png", {"a": results, "b": results})
    assert (tmp_path / "radar.png").stat().st_size > 5000


def test_finished_cells_are_kept_and_others_added(tmp_path, items):
    first = measure(tmp_path, cells_of(["blur"], [2]), items)
    path = tmp_path / "blur-2.json"
    content = json.loads(path.read_text())
    content["values"]["dice"] = 0.123
    path.write_text(json.dumps(content))
    again = measure(tmp_path, cells_of(["blur"], [2, 4]), items)
    assert again["blur", 2]["dice"] == 0.123
    assert again[CLEAN] == pytest.approx(first[CLEAN], abs=1e-6, nan_ok=True)
    assert again["blur", 4]["dice"] < first["blur", 2]["dice"]
    with pytest.raises(InputError, match="of another model"):
        measure(tmp_path, cells_of(["blur"], [2]), items, identity={"model": "other"})
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        measure(tmp_path, cells_of(["blur"], [2]), items)


def test_the_same_seed_gives_the_same_numbers_in_any_order(tmp_path, items):
    cells = cells_of(["noise", "ghosting"], [3])
    first = measure(tmp_path / "a", cells, items)
    second = measure(tmp_path / "b", cells, items[::-1])
    other = measure(tmp_path / "c", cells, items, seed=5)
    for cell in cells:
        assert first[cell] == pytest.approx(second[cell], abs=1e-9, nan_ok=True)
    assert first["noise", 3]["dice"] != other["noise", 3]["dice"]


def test_a_margin_measures_reliability_where_decisions_are(tmp_path, items):
    everywhere = measure(tmp_path / "a", cells_of(["blur"], [5]), items)
    near = measure(tmp_path / "b", cells_of(["blur"], [5]), items, margin=2.0)
    assert near["blur", 5]["dice"] == everywhere["blur", 5]["dice"]
    assert near["blur", 5]["ece"] > everywhere["blur", 5]["ece"]
    assert set(near[CLEAN]) == set(MEASURES)


def test_what_there_is_not_is_refused(tmp_path, items):
    with pytest.raises(InputError, match="gamma"):
        cells_of(["gama"], [1])
    with pytest.raises(InputError, match="severity 6"):
        cells_of(["gamma"], [6])
    with pytest.raises(InputError, match="no case"):
        measure(tmp_path, [CLEAN], [])
