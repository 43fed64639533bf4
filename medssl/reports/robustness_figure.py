"""The robustness of models as a radar: one axis a corruption, the clean value as a ring."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from medssl.common.files import atomic_path
from medssl.evaluation.scan_robustness import CLEAN, Cell

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
TITLES = {"dice": "Dice", "rss": "RSS", "ece": "1 - ECE"}


def write_radar(path: str | Path, models: Mapping[str, Mapping[Cell, Mapping[str, float]]]) -> None:
    """Dice (mIoU where there is none), RSS and 1 - ECE of every corruption, one line a model.

    A corruption's value is the mean over its severities.

    Args:
        path: the PNG.
        models: name of the model, and its cells.
    """
    names = list(dict.fromkeys(cell[0] for cells in models.values() for cell in cells if cell != CLEAN))
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    closed = np.append(angles, angles[:1])
    figure = Figure(figsize=(13, 5.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    measured = next(iter(next(iter(models.values())).values()))
    titles = TITLES if "dice" in measured else {"miou": "mIoU"} | {k: TITLES[k] for k in ("rss", "ece")}
    for index, (measure, title) in enumerate(titles.items()):
        axes = figure.add_subplot(1, 3, index + 1, projection="polar")
        assert isinstance(axes, PolarAxes)
        lowest = 1.0
        for (model, cells), color in zip(models.items(), COLORS * len(models), strict=False):
            values = [_mean(cells, name, measure) for name in names]
            clean = _value(cells[CLEAN], measure)
            lowest = min(lowest, clean, *values)
            axes.plot(closed, [*values, values[0]], color=color, linewidth=1.8, marker="o", ms=3, label=model)
            circle = np.linspace(0, 2 * np.pi, 100)
            axes.plot(circle, np.full(100, clean), color=color, linewidth=1, linestyle=":")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        axes.set_xticks(angles, [name.replace("_", "\n").replace("-", "\n") for name in names], fontsize=9)
        axes.set_rlim(max(0.0, np.floor(10 * lowest) / 10 - 0.1), 1)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_title(f"{title} (dotted: clean)", fontsize=11, pad=18)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _value(values: Mapping[str, float], measure: str) -> float:
    return 1 - values["ece"] if measure == "ece" else values[measure]


def _mean(cells: Mapping[Cell, Mapping[str, float]], name: str, measure: str) -> float:
    found: Sequence[float] = [_value(values, measure) for cell, values in cells.items() if cell[0] == name]
    return float(np.mean(found)) if found else float("nan")
