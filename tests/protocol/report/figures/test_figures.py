"""What figures draw, read back from their axes."""

import json

import numpy as np
import pandas as pd
import pytest

from medssl.protocol.analysis.training_records import read_curves
from medssl.protocol.report.figures.paired_cases import paired_differences
from medssl.protocol.report.figures.reliability_diagram import reliability_diagram
from medssl.protocol.report.figures.run_to_run import run_to_run
from medssl.protocol.report.figures.sensitivity import sensitivity_radar, swept_settings
from medssl.protocol.report.figures.training_curves import training_curves
from medssl.reports.figure_style import looks, new_figure, save


def values_of(line):
    return np.asarray(line.get_ydata(), float)


def test_looks_differ_in_more_than_colour():
    look_of = looks(str(i) for i in range(20))
    assert len(set(look_of.values())) == 20
    assert len({(look.marker, look.line) for look in look_of.values()}) >= 16


def test_a_figure_is_saved_twice_alike(tmp_path):
    def draw(stem):
        figure, (axis,) = new_figure(3, 2)
        axis.plot([1, 2], [3, 4])
        return [path.read_bytes() for path in save(figure, tmp_path / stem)]

    assert draw("a") == draw("b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


def test_every_run_is_drawn():
    rng = np.random.default_rng(0)
    rows = [(m, c, s, rng.random()) for m in ("a", "b") for c in ("best", "last") for s in (1, 2, 3)]
    values = pd.DataFrame(rows, columns=["method", "checkpoint", "seed", "value"])
    figure = run_to_run(values, looks(["a", "b"]), metric="dice")
    left, right = figure.axes
    for line, name in zip(left.lines, ("a", "b"), strict=True):
        of_method = values[(values["method"] == name) & (values["checkpoint"] == "last")]
        assert values_of(line).tolist() == of_method["value"].tolist()
    drawn = np.concatenate([values_of(line) for line in right.lines if line.get_linestyle() == "None"])
    assert sorted(drawn) == sorted(values["value"])
    low, high = right.get_ylim()
    assert low < values["value"].min()
    assert high > values["value"].max()


def test_cases_are_compared_with_the_baseline():
    rows = [("base", c, s, 0.5) for c in "xyz" for s in (1, 2)]
    rows += [("new", "x", 1, 0.4), ("new", "x", 2, 0.5), ("new", "y", 1, 0.9), ("new", "y", 2, 0.7)]
    rows += [("new", "z", 1, 0.5), ("new", "z", 2, 0.7)]
    table = pd.DataFrame(rows, columns=["method", "case", "seed", "value"]).assign(
        metric="dice", checkpoint="last"
    )
    tested = pd.DataFrame(
        {"a": ["base"], "b": ["new"], "metric": "dice", "checkpoint": "last", "p_holm": 0.25}
    )
    figure = paired_differences(table, tested, looks(["base", "new"]), metric="dice", baseline="base")
    axis = figure.axes[0]
    assert "2 of 3 better, p = 0.250" in axis.get_title()
    marks = np.concatenate([values_of(line) for line in axis.lines if line.get_linestyle() == "None"])
    assert sorted(marks) == pytest.approx([-0.05, 0.1, 0.3])
    figure = paired_differences(
        table.assign(metric="ece"), tested, looks(["base", "new"]), metric="ece", baseline="base"
    )
    assert "1 of 3 better" in figure.axes[0].get_title()  # less is better


def test_the_diagram_pools_runs_by_their_counts():
    def run(count, confidence, accuracy):
        empty = [None] * 16
        diagram = {"count": [0] * 16, "confidence": empty.copy(), "accuracy": empty.copy()}
        for place, values in zip((10, 15), zip(count, confidence, accuracy, strict=True), strict=True):
            for name, value in zip(diagram, values, strict=True):
                diagram[name][place] = value
        return {"diagram": diagram}

    runs = [run((30, 10), (0.7, 1.0), (0.5, 0.9)), run((10, 50), (0.7, 1.0), (0.9, 0.8))]
    figure = reliability_diagram({"a": runs}, looks(["a"]))
    upper, lower = figure.axes
    accuracies = [(30 * 0.5 + 10 * 0.9) / 40, (10 * 0.9 + 50 * 0.8) / 60]
    assert [bar.get_height() for bar in upper.patches] == pytest.approx(accuracies)
    error = (40 * abs(accuracies[0] - 0.7) + 60 * abs(accuracies[1] - 1)) / 100
    assert f"ECE {error:.4f}" in upper.get_title()
    shares = [bar.get_height() for bar in lower.patches]
    assert (shares[10], shares[14]) == pytest.approx((0.4, 0.6))


def test_training_curves_are_medians_with_their_range(tmp_path):
    logs = []
    for run, values in enumerate(([0.5, 0.6], [0.4, 0.8], [0.45, None])):
        path = tmp_path / f"{run}.jsonl"
        lines = [{"event": "train", "step": 1, "loss": 1.0}]
        lines += [{"event": "validation", "step": 10 * (i + 1), "val_dice": v} for i, v in enumerate(values)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        logs.append(path)
    curves = read_curves({"a": logs})
    assert len(curves) == 6
    figure = training_curves(curves, looks(["a"]))
    assert values_of(figure.axes[0].lines[0]).tolist() == pytest.approx([0.45, 0.7])
    assert training_curves(read_curves({"a": []}), looks(["a"])) is None


def test_the_radar_has_an_axis_for_every_value():
    rows = [
        (f"TCSeg tau={tau}", checkpoint, 0.8 + tau, 0.85 + tau)
        for tau in (0.01, 0.05, 0.1)
        for checkpoint in ("best", "last")
    ]
    summary = pd.DataFrame(rows, columns=["method", "checkpoint", "median", "best_run"]).assign(metric="dice")
    figure = sensitivity_radar(summary, metric="dice")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["tau=0.01", "tau=0.05", "tau=0.1"]
    assert len(axis.lines) == 4
    assert values_of(axis.lines[0]).tolist() == pytest.approx([0.81, 0.85, 0.9, 0.81])
    assert sensitivity_radar(summary[summary["method"] != "TCSeg tau=0.1"], metric="dice") is None
    assert swept_settings(["a", "a b=1", "c d"]) == {"a b=1": "b=1"}
