"""Which pseudo-labels are believed, and whether rightly (``pseudo_labels.csv`` of the runs)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medssl.evaluation.pseudo_labels import COLUMNS, COMPARED, QUALITY
from medssl.reports.figure_style import GREY, Look, legend, new_figure, plain

NAMES = {
    "tpr": "right pseudo-labels that are selected (TPR)",
    "fpr": "wrong pseudo-labels that are selected (FPR)",
    "ppv": "selected pseudo-labels that are right (PPV)",
    "npv": "left-out pseudo-labels that are wrong (NPV)",
}


def read_pseudo_labels(files: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """``pseudo_labels.csv`` of some runs in one table, with the columns method and run before its own.

    Args:
        files: paths by setting; what is missing is left out.
    """
    parts = []
    for name, paths in files.items():
        for run, path in enumerate(paths):
            if path.is_file():
                part = pd.read_csv(path, dtype={"class": str, "selector": str}, encoding="utf-8")
                part.insert(0, "run", run)
                part.insert(0, "method", name)
                parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["method", "run", *COLUMNS, *QUALITY, *COMPARED])
    return pd.concat(parts, ignore_index=True)


def own_selection(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the methods' own selectors: in every file, the first one that is named."""
    first = table.groupby(["method", "run"])["selector"].transform("first")
    return table[(table["selector"] == first) & ~table["selector"].str.startswith("confidence")]


def selection_curves(table: pd.DataFrame, shown: dict[str, Look]) -> Figure | None:
    """TPR, FPR, PPV and NPV of the selections over training (AgScore's Figures 1 and 3).

    Full lines: a method's own selection; dotted, in its colour: confidence alone, on the same views. Medians
    over runs; the band is their range.

    Args:
        table: of :func:`read_pseudo_labels`.
        shown: looks by setting.

    Returns:
        None where no run selected anything.
    """
    whole = table[table["class"] == "all"]
    own = own_selection(whole)
    if own.empty:
        return None
    other = whole[whole["selector"].str.startswith("confidence")]
    present = {name: look for name, look in shown.items() if name in set(own["method"])}
    figure, axes = new_figure(8.4, 6.0 + 0.22 * -(-len(present) // 4), 2, 2)
    for axis, rate in zip(axes, QUALITY, strict=True):
        for name, look in present.items():
            mine = own[own["method"] == name].groupby("step")[rate]
            middle = mine.median()
            axis.plot(middle.index, middle, color=look.color, marker=look.marker, ms=4, lw=1.5)
            axis.fill_between(middle.index, mine.min(), mine.max(), color=look.color, alpha=0.1, linewidth=0)
            compared = other[other["method"] == name].groupby("step")[rate].median()
            axis.plot(compared.index, compared, color=look.color, linestyle=":", lw=1.2)
        axis.set_title(NAMES[rate], fontsize=9)
        axis.set_xlabel("step")
    legend(figure, present)
    if len(other):
        note = Line2D(
            [], [], color=GREY, linestyle=":", label=f"{other['selector'].iloc[0]} on the same views"
        )
        figure.legend(handles=[note], loc="outside upper right", fontsize=8, frameon=False)
    return figure


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
