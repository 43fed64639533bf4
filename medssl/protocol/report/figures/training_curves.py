"""How accuracy and reliability came about over training."""

import pandas as pd
from matplotlib.figure import Figure

from medssl.metrics.table import find_metric
from medssl.protocol.analysis.training_records import CURVES, read_curves
from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import Look, legend, new_figure


def training_curves(curves: pd.DataFrame, shown: dict[str, Look]) -> Figure | None:
    """Accuracy and reliability on the validation cases over training (Landgraf et al. 2025, Figure 4).

    Median over runs, with their range as a band.

    Args:
        curves: of :func:`read_curves`.
        shown: looks by setting.

    Returns:
        None where no run was validated.
    """
    present = [key for key in CURVES if curves[key].notna().any()]
    if not present:
        return None
    columns = min(3, len(present))
    rows = -(-len(present) // columns)
    height = 2.5 * rows + 0.3 + 0.22 * -(-len(shown) // 4)
    figure, axes = new_figure(3.3 * columns, height, rows, columns)
    for axis, key in zip(axes, present, strict=False):
        for name, look in shown.items():
            own = curves[curves["method"] == name].groupby("step")[key]
            if not len(own):
                continue
            middle = own.median()
            axis.plot(
                middle.index,
                middle,
                color=look.color,
                linestyle=look.line,
                marker=look.marker,
                ms=3.5,
                lw=1.4,
            )
            axis.fill_between(middle.index, own.min(), own.max(), color=look.color, alpha=0.1, linewidth=0)
        axis.set_title(find_metric(key.removeprefix("val_")).title)
        axis.set_xlabel("step")
    for axis in axes[len(present) :]:
        axis.set_axis_off()
    legend(figure, shown)
    return figure


def _draw(source: FigureSource) -> Figure | None:
    return training_curves(read_curves(source.files("log.jsonl")), source.looks)


TRAINING_CURVES = ReportFigure(
    "training",
    "Accuracy and reliability on the validation cases over training: median over runs, and range.",
    _draw,
)
