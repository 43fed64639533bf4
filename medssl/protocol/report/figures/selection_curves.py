"""Which pseudo-labels are believed over training, and whether rightly (``pseudo_labels.csv`` of the runs)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medssl.common.run_folder import PSEUDO_LABEL_RATES
from medssl.protocol.analysis.training_records import own_selection, read_pseudo_labels
from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import GREY, Look, legend, new_figure

NAMES = {
    "tpr": "right pseudo-labels that are selected (TPR)",
    "fpr": "wrong pseudo-labels that are selected (FPR)",
    "ppv": "selected pseudo-labels that are right (PPV)",
    "npv": "left-out pseudo-labels that are wrong (NPV)",
}


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
    overall = table[table["class"] == "all"]
    own = own_selection(overall)
    if own.empty:
        return None
    other = overall[overall["selector"].str.startswith("confidence")]
    present = {name: look for name, look in shown.items() if name in set(own["method"])}
    figure, axes = new_figure(8.4, 6.0 + 0.22 * -(-len(present) // 4), 2, 2)
    for axis, rate in zip(axes, PSEUDO_LABEL_RATES, strict=True):
        for name, look in present.items():
            rates = own[own["method"] == name].groupby("step")[rate]
            middle = rates.median()
            axis.plot(middle.index, middle, color=look.color, marker=look.marker, ms=4, lw=1.5)
            axis.fill_between(
                middle.index, rates.min(), rates.max(), color=look.color, alpha=0.1, linewidth=0
            )
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


def _draw(source: FigureSource) -> Figure | None:
    return selection_curves(read_pseudo_labels(source.files("pseudo_labels.csv")), source.looks)


SELECTION_CURVES = ReportFigure(
    "selection",
    "Selection of pseudo-labels over training, judged with labels that training never sees: "
    "median over runs, and range.",
    _draw,
)
