"""Case by case: where one setting is better than another."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medssl.metrics.table import find_metric
from medssl.protocol.analysis.pooled_runs import SUMS
from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import GREY, Look, new_figure, plain


def paired_differences(
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    shown: dict[str, Look],
    *,
    metric: str,
    baseline: str,
    checkpoint: str = "last",
) -> Figure | None:
    """Every test case's difference to the baseline, sorted: one panel a setting.

    A case's value is its mean over classes and seeds. Full marks: better than the baseline; open: not.

    Args:
        table: long table of one data set and labelled count.
        comparison: of :func:`medssl.protocol.analysis.comparison.compare_settings`, the baseline's pairs.
        shown: looks by setting.
        metric: its name.
        baseline: the setting that is subtracted.
        checkpoint: "best" or "last".

    Returns:
        None where there is nothing beside the baseline, or the baseline lacks the metric.
    """
    chosen = table[(table["metric"] == metric) & (table["checkpoint"] == checkpoint)]
    values = chosen.groupby(["method", "case"])["value"].mean().unstack("case")
    names = [name for name in shown if name != baseline and name in values.index]
    if not names or baseline not in values.index:
        return None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(max(4.2, 2.9 * columns), 2.5 * rows + 0.5, rows, columns, sharey=True)
    tested = comparison[(comparison["metric"] == metric) & (comparison["checkpoint"] == checkpoint)]
    sign = -1.0 if find_metric(metric).lower_is_better else 1.0
    for axis, name in zip(axes, names, strict=False):
        look = shown[name]
        difference = np.sort((values.loc[name] - values.loc[baseline]).dropna().to_numpy())
        better = sign * difference > 0
        places = np.arange(len(difference))
        axis.axhline(0, color=GREY, linewidth=1)
        axis.vlines(places, 0, difference, color=look.color, linewidth=1, alpha=0.5)
        for mask, face in ((better, look.color), (~better, "white")):
            axis.plot(
                places[mask], difference[mask], linestyle="", marker="o", color=look.color, mfc=face, ms=4.5
            )
        if len(difference):
            axis.axhline(float(np.median(difference)), color=look.color, linewidth=1.4, linestyle="--")
        pair = [{name, baseline} == {a, b} for a, b in zip(tested["a"], tested["b"], strict=True)]
        p = float(tested.loc[pair, "p_holm"].iloc[0]) if any(pair) else float("nan")
        axis.set_title(
            f"{plain(name)}\n{better.sum()} of {len(better)} better, p = {p:.3f} (Holm)", fontsize=9
        )
        axis.set_xticks([])
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    figure.supxlabel("test cases, sorted (dashed: their median)", fontsize=9)
    figure.supylabel(f"{find_metric(metric).title} minus {plain(baseline)}'s", fontsize=9)
    return figure


def _draw(source: FigureSource) -> Figure | None:
    if SUMS in source.frames["scores"]:  # a number that is pooled over images is that of no image
        return None
    return paired_differences(
        source.frames["scores"],
        source.frames["comparisons"],
        source.looks,
        metric=source.metric,
        baseline=source.baseline,
    )


PAIRED_CASES = ReportFigure(
    "cases",
    "Last checkpoint, case by case (mean over seeds), against {baseline}. "
    "p: Wilcoxon signed-rank over cases, Holm's correction.",
    _draw,
)
