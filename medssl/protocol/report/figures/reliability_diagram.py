"""Whether a probability means what it says: accuracy against confidence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import GREY, Look, new_figure, plain


def reliability_diagram(
    scored: Mapping[str, Sequence[Mapping[str, Any]]], shown: dict[str, Look]
) -> Figure | None:
    """Accuracy against confidence in 15 bins, and below the share of voxels, or pixels: one panel a setting.

    On the diagonal a confidence of 0.8 is right in 80% of them; below it a model is over-confident.
    Runs of a setting are pooled by their counts. The last of the 16 stored bins holds a confidence of exactly
    1 and is drawn with the one before.

    Args:
        scored: contents of ``reliability_*.json``, one for each run, by setting.
        shown: looks by setting.

    Returns:
        None where nothing was scored.
    """
    names = [name for name in shown if scored.get(name)]
    if not names:
        return None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(max(3.4, 2.6 * columns), 3.5 * rows, 2 * rows, columns)
    engine = figure.get_layout_engine()
    assert engine is not None
    grid = axes[0].get_gridspec()
    assert grid is not None
    grid.set_height_ratios([3, 1] * rows)
    for index in range(rows * columns):
        upper = axes[2 * columns * (index // columns) + index % columns]
        lower = axes[2 * columns * (index // columns) + columns + index % columns]
        if index >= len(names):
            upper.set_axis_off()
            lower.set_axis_off()
            continue
        name = names[index]
        color = shown[name].color
        count, confidence, accuracy = _pooled([run["diagram"] for run in scored[name]])
        total = count.sum()
        error = float((count * np.abs(accuracy - confidence))[count > 0].sum() / total) if total else np.nan
        edges = np.linspace(0, 1, len(count) + 1)
        middles, full = (edges[:-1] + edges[1:]) / 2, count > 0
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        upper.bar(middles[full], accuracy[full], 1 / len(count), color=color, alpha=0.35, edgecolor=color)
        upper.plot(confidence[full], accuracy[full], color=color, marker=shown[name].marker, ms=4, lw=1)
        upper.set_title(f"{plain(name)}\nECE {error:.4f}", fontsize=9)
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        upper.set_xticklabels([])
        share = np.where(full, count / max(total, 1), np.nan)
        lower.bar(middles, share, 1 / len(count), color=color, alpha=0.6)
        lower.set_yscale("log")
        lower.set_ylim(1e-6, 1.5)
        lower.set_yticks([1e-6, 1e-3, 1])
        lower.set_xlim(0, 1)
        lower.set_xlabel("confidence")
        if index % columns == 0:
            upper.set_ylabel("accuracy")
            lower.set_ylabel("share")
        else:
            upper.set_yticklabels([])
            lower.set_yticklabels([])
    return figure


def _pooled(
    diagrams: Sequence[Mapping[str, Sequence[float | None]]],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Count, mean confidence and accuracy of 15 bins over some runs."""
    counts = np.array([[value or 0 for value in d["count"]] for d in diagrams], float)
    sums = [
        (counts * np.array([[value or 0.0 for value in d[name]] for d in diagrams], float)).sum(0)
        for name in ("confidence", "accuracy")
    ]
    parts = [_merged(part) for part in (counts.sum(0), *sums)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return parts[0], parts[1] / parts[0], parts[2] / parts[0]


def _merged(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bin of confidence 1 added to the one before."""
    merged: np.ndarray[Any, Any] = values[:-1].copy()
    merged[-1] += values[-1]
    return merged


def _draw(source: FigureSource) -> Figure | None:
    scored = {
        name: [content for run in runs if (content := run.reliability("last", source.subset))]
        for name, runs in source.runs.items()
    }
    return reliability_diagram(scored, source.looks)


RELIABILITY_DIAGRAM = ReportFigure(
    "reliability",
    "Reliability diagram of the last checkpoint, runs pooled: below the diagonal a model is "
    "over-confident. Below, the share of all voxels, or pixels.",
    _draw,
)
