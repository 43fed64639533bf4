import csv
import math

import pytest
import torch

from medssl.metrics import coverage_counts
from medssl.reports.coverage import coverage_figure, coverage_rows, coverage_table, write_coverage

NAMES = ["sky", "pole", "$unseen"]


def counts(seed=0, share=0.6):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(2, (1, 12, 12), generator=generator)
    sets = torch.rand(1, 3, 12, 12, generator=generator) < share
    labels = torch.where(sets.any(1), sets.int().argmax(1), 255)
    return coverage_counts(sets, labels, truth)


@pytest.fixture
def coverages():
    return {
        "raw": {None: counts(9)},
        "pixel": {0.1: counts(0), 0.05: counts(1)},
        "image": {0.1: counts(2, 0.8)},
    }


def test_rows_hold_the_ratios_of_all_and_of_each_class(coverages):
    rows = coverage_rows(coverages, NAMES)
    assert [row["class"] for row in rows] == ["all", *NAMES] * 4
    overall, sky, _, unseen = rows[4:8]
    pixel = coverages["pixel"][0.1]
    assert (overall["setting"], overall["alpha"], overall["promised"], overall["pixels"]) == (
        "pixel",
        0.1,
        0.9,
        144,
    )
    for ratio in ("coverage", "set_size", "kept_share", "precision", "recall"):
        assert overall[ratio] == getattr(pixel, f"overall_{ratio}")
        assert sky[ratio] == float(getattr(pixel, ratio)[0])
    assert unseen["coverage"] is None
    assert unseen["precision"] == 0
    raw = rows[0]
    assert raw["alpha"] is raw["promised"] is raw["coverage"] is raw["set_size"] is None
    assert raw["precision"] == coverages["raw"][None].overall_precision


def test_files_say_what_the_rows_say(coverages, tmp_path):
    table = write_coverage(tmp_path / "new", coverages, NAMES)
    files = {path.name: path for path in (tmp_path / "new").iterdir()}
    assert set(files) == {"coverage.csv", "coverage.md", "coverage.png", "coverage.svg"}
    with files["coverage.csv"].open(newline="") as file:
        read = list(csv.DictReader(file))
    rows = coverage_rows(coverages, NAMES)
    assert [row["coverage"] for row in read] == [str(row["coverage"] or "") for row in rows]
    assert files["coverage.md"].read_text() == table == coverage_table(rows)
    lines = table.splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({len(line) for line in lines}) == 1
    first = files["coverage.svg"].read_bytes()
    write_coverage(tmp_path / "new", coverages, NAMES)
    assert files["coverage.svg"].read_bytes() == first


def test_the_figure_shows_the_reached_coverage_of_every_setting(coverages):
    figure = coverage_figure(coverages, NAMES)
    reached, precision, kept = figure.axes
    lines = [line for line in reached.lines if line.get_linestyle() != "None"]
    assert lines[2].get_ydata() == pytest.approx(
        [coverages["pixel"][alpha].overall_coverage for alpha in (0.05, 0.1)]
    )
    assert [len(axes.lines) for axes in (precision, kept)] == [3, 3]
    smallest_risk = coverages["pixel"][0.05]
    expected = [*smallest_risk.precision.tolist(), smallest_risk.overall_precision]
    assert precision.lines[1].get_xdata() == pytest.approx(expected, nan_ok=True)
    assert math.isnan(kept.lines[1].get_xdata()[2])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["raw", "pixel", "image"]


def test_counts_of_other_classes_are_refused(coverages):
    with pytest.raises(ValueError, match="3 classes are counted, 2 named"):
        coverage_rows(coverages, NAMES[:2])
