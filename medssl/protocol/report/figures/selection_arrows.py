"""What selecting does to pseudo-labels at the end of training (``pseudo_labels.csv`` of the runs)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medssl.protocol.analysis.training_records import own_selection, read_pseudo_labels
from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import Look, new_figure, plain


def selection_arrows(table: pd.DataFrame, shown: dict[str, Look], *, label: str = "1") -> Figure | None:
    """PPV against NPV of a class: an arrow from all pseudo-labels to the selected ones (TCSeg's Figure 4).

    The mark at its tip grows with the recall of the selected ones. At the end of training, medians over runs.
    A setting that selects nothing of the class has no arrow: its circle, and the legend, say so.

    Args:
        table: of :func:`read_pseudo_labels`.
        shown: looks by setting.
        label: the class.

    Returns:
        None where no run selected anything of that class.
    """
    own = own_selection(table[table["class"] == label])
    last = own[own["step"] == own.groupby(["method", "run"])["step"].transform("max")]
    ends = last.groupby("method")[["ppv_all", "npv_all", "ppv", "npv", "tpr"]].median()
    ends = ends.dropna(subset=["ppv_all", "npv_all"])
    present = {name: look for name, look in shown.items() if name in ends.index}
    selecting = set(ends.index[ends["ppv"].notna()])
    if not selecting.intersection(present):
        return None
    figure, (axis,) = new_figure(6.8, 4.8)
    handles = []
    for name, look in present.items():
        row = ends.loc[name]
        axis.plot(row["npv_all"], row["ppv_all"], marker="o", ms=4, mfc="white", color=look.color)
        if name not in selecting:
            mark = Line2D(
                [], [], color=look.color, marker="o", mfc="white", linestyle="", label=plain(f"{name} (none)")
            )
            handles.append(mark)
            continue
        axis.annotate(
            "",
            xy=(row["npv"], row["ppv"]),
            xytext=(row["npv_all"], row["ppv_all"]),
            arrowprops={"arrowstyle": "->", "color": look.color, "linewidth": 1.5, "shrinkB": 0},
        )
        axis.scatter(
            row["npv"],
            row["ppv"],
            s=30 + 470 * row["tpr"],
            marker=look.marker,
            color=look.color,
            alpha=0.7,
        )
        mark = Line2D(
            [],
            [],
            color=look.color,
            marker=look.marker,
            linestyle="",
            label=plain(f"{name} ({row['tpr']:.2f})"),
        )
        handles.append(mark)
    shown_ends = ends.loc[list(present)]
    points = np.concatenate([shown_ends[["npv", "ppv"]], shown_ends[["npv_all", "ppv_all"]]])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    margin = 0.15 * np.maximum(high - low, 1e-3)
    (left, bottom), (right, top) = low - margin, high + margin
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.set_xlabel(f"NPV of class {label}")
    axis.set_ylabel(f"PPV of class {label}")
    figure.legend(
        handles=handles,
        title="setting (recall of its selection)",
        loc="outside right upper",
        frameon=False,
        fontsize=8,
    )
    return figure


def _draw(source: FigureSource) -> Figure | None:
    return selection_arrows(read_pseudo_labels(source.files("pseudo_labels.csv")), source.looks)


SELECTION_ARROWS = ReportFigure(
    "arrows",
    "What selecting does at the end of training: from all pseudo-labels (small ring) to the selected "
    "ones; the mark grows with their recall.",
    _draw,
)
