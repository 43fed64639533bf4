"""Figures of pseudo-label selection, read back from what was drawn."""

import pandas as pd
import pytest
from matplotlib.text import Annotation

from medssl.common.run_folder import PSEUDO_LABEL_COLUMNS, PSEUDO_LABEL_RATES
from medssl.protocol.analysis.training_records import own_selection, read_pseudo_labels
from medssl.protocol.report.figures.selection_arrows import selection_arrows
from medssl.protocol.report.figures.selection_curves import selection_curves
from medssl.reports.figure_style import looks

STEPS = (10, 20, 30)


def write(path, tprs, *, own="tcseg", selects=True):
    """A run whose own selection has these TPR, beside confidence alone, of TPR 0.5 throughout."""
    rows = []
    for step, tpr in zip(STEPS, tprs, strict=True):
        for selector, rate in ((own, tpr), ("confidence 0.95", 0.5)):
            if selector is None:
                continue
            rows.append([step, selector, "all", 100, 0.4, rate, rate / 4, 0.9, 0.3, 0.8, None, None])
            ppv = 0.95 if selects else None
            rows.append([step, selector, "1", 100, 0.1, rate / 2, 0.01, ppv, 0.99, 0.7, 0.95, 0.6])
    pd.DataFrame(rows, columns=PSEUDO_LABEL_COLUMNS).to_csv(path, index=False)
    return path


def lines(axis, color, style="-"):
    return [line for line in axis.lines if line.get_color() == color and line.get_linestyle() == style]


@pytest.fixture
def files(tmp_path):
    return {
        "A": [write(tmp_path / f"a{seed}.csv", [0.2 + 0.1 * seed, 0.4, 0.6]) for seed in range(3)],
        "B": [write(tmp_path / "b.csv", [0.3, 0.2, 0.1]), tmp_path / "missing.csv"],
        "switched off": [write(tmp_path / "c.csv", [0, 0, 0], own=None)],
    }


def test_tables_are_joined_by_setting_and_run_and_missing_files_left_out(files):
    table = read_pseudo_labels(files)
    assert set(zip(table["method"], table["run"], strict=True)) == {
        ("A", 0), ("A", 1), ("A", 2), ("B", 0), ("switched off", 0),
    }  # fmt: skip
    assert list(table.columns) == ["method", "run", *PSEUDO_LABEL_COLUMNS]
    assert set(table["class"]) == {"all", "1"}
    assert read_pseudo_labels({"A": []}).empty
    assert set(own_selection(table)["selector"]) == {"tcseg"}
    assert set(own_selection(table)["method"]) == {"A", "B"}


def test_curves_show_the_median_over_runs_its_range_and_confidence_alone(files):
    look_of = looks(files)
    figure = selection_curves(read_pseudo_labels(files), look_of)
    assert len(figure.axes) == len(PSEUDO_LABEL_RATES)
    tpr = figure.axes[0]
    (own,), (compared,) = lines(tpr, look_of["A"].color), lines(tpr, look_of["A"].color, ":")
    assert list(own.get_xdata()) == list(STEPS)
    assert list(own.get_ydata()) == pytest.approx([0.3, 0.4, 0.6])
    assert list(compared.get_ydata()) == [0.5] * 3
    band = tpr.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.2, 0.6))
    assert list(lines(tpr, look_of["B"].color)[0].get_ydata()) == pytest.approx([0.3, 0.2, 0.1])
    (fpr,) = lines(figure.axes[1], look_of["B"].color)
    assert list(fpr.get_ydata()) == pytest.approx([0.075, 0.05, 0.025])
    assert not lines(tpr, look_of["switched off"].color)


def test_no_legend_covers_a_curve(files):
    figure = selection_curves(read_pseudo_labels(files), looks(files))
    figure.canvas.draw()
    assert len(figure.legends) == 2
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axis.get_window_extent()) for axis in figure.axes)
        assert figure.bbox.count_contains(box.get_points()) == 2


def test_arrows_go_from_all_pseudo_labels_to_the_selected_ones_of_the_last_step(files):
    look_of = looks(files)
    figure = selection_arrows(read_pseudo_labels(files), look_of)
    (axis,) = figure.axes
    arrows = [child for child in axis.get_children() if isinstance(child, Annotation)]
    assert len(arrows) == 2  # none for the setting that is switched off
    for arrow in arrows:
        assert arrow.xy == pytest.approx((0.99, 0.95))
        assert arrow.xyann == pytest.approx((0.95, 0.7))
    large, small = (marks.get_sizes()[0] for marks in axis.collections)  # recall 0.3 and 0.05
    assert (large - 30) == pytest.approx(6 * (small - 30))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A (0.30)", "B (0.05)"]
    figure.canvas.draw()
    assert not figure.legends[0].get_window_extent().overlaps(axis.get_window_extent())


def test_a_setting_that_selects_nothing_of_the_class_is_named_without_an_arrow(files, tmp_path):
    files["C"] = [write(tmp_path / "none.csv", [0, 0, 0], selects=False)]
    figure = selection_arrows(read_pseudo_labels(files), looks(files))
    (axis,) = figure.axes
    assert sum(isinstance(child, Annotation) for child in axis.get_children()) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "C (none)"
    circles = [line for line in axis.lines if line.get_color() == looks(files)["C"].color]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in circles] == [(0.95, 0.7)]


def test_nothing_to_show_gives_no_figure(files, tmp_path):
    empty = read_pseudo_labels({"A": [tmp_path / "missing.csv"]})
    assert selection_curves(empty, looks("A")) is None
    assert selection_arrows(empty, looks("A")) is None
    off = read_pseudo_labels({"switched off": files["switched off"]})
    assert selection_curves(off, looks(["switched off"])) is None
    none = read_pseudo_labels({"C": [write(tmp_path / "none.csv", [0, 0, 0], selects=False)]})
    assert selection_arrows(none, looks("C")) is None
    assert selection_arrows(read_pseudo_labels(files), looks(files), label="2") is None
