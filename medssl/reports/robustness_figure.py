"""The robustness of models as a radar: one axis a corruption, the clean value as a ring."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from medssl.common.files import atomic_path
from medssl.evaluation.scan_robustness import CLEAN, Cell
from medssl.metrics.table import Metric, find_metric
from medssl.reports.figure_style import COLORS

RADARS = ("rss", "ece")
"""Drawn beside Dice or mIoU; what is better lower as its distance to 1."""


def write_radar(path: str | Path, models: Mapping[str, Mapping[Cell, Mapping[str, float]]]) -> None:
    """Dice (mIoU where there is none), RSS and 1 - ECE of every corruption, one line a model.

    A corruption's value is the mean over its severities.

    Args:
        path: the PNG.
        models: name of the model, and its cells.
    """
    corruptions = list(dict.fromkeys(cell[0] for cells in models.values() for cell in cells if cell != CLEAN))
    angles = np.linspace(0, 2 * np.pi, len(corruptions), endpoint=False)
    closed = np.append(angles, angles[:1])
    figure = Figure(figsize=(13, 5.2), dpi=110, layout="constrained")
    measured = next(iter(next(iter(models.values())).values()))
    for index, measure in enumerate(("dice" if "dice" in measured else "miou", *RADARS)):
        metric = find_metric(measure)
        axes = figure.add_subplot(1, 3, index + 1, projection="polar")
        assert isinstance(axes, PolarAxes)
        lowest = 1.0
        for (model, cells), color in zip(models.items(), COLORS * len(models), strict=False):
            values = [_mean(cells, name, metric) for name in corruptions]
            clean = _value(cells[CLEAN], metric)
            lowest = min(lowest, clean, *values)
            axes.plot(closed, [*values, values[0]], color=color, linewidth=1.8, marker="o", ms=3, label=model)
            circle = np.linspace(0, 2 * np.pi, 100)
            axes.plot(circle, np.full(100, clean), color=color, linewidth=1, linestyle=":")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        titles = [name.replace("_", "\n").replace("-", "\n", 1) for name in corruptions]
        axes.set_xticks(angles, titles, fontsize=9)
        axes.set_rlim(max(0.0, np.floor(10 * lowest) / 10 - 0.1), 1)
        axes.tick_params(axis="y", labelsize=8)
        title = f"1 - {metric.title}" if metric.lower_is_better else metric.title
        axes.set_title(f"{title} (dotted: clean)", fontsize=11, pad=18)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    with atomic_path(path) as temporary:
        # The layout forgets titles that make way for tall names of corruptions.
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _value(values: Mapping[str, float], metric: Metric) -> float:
    return 1 - values[metric.name] if metric.lower_is_better else values[metric.name]


def _mean(cells: Mapping[Cell, Mapping[str, float]], corruption: str, metric: Metric) -> float:
    values = [_value(measured, metric) for cell, measured in cells.items() if cell[0] == corruption]
    return float(np.mean(values)) if values else float("nan")
