"""How much a value of a hyperparameter matters: a radar of a sweep (TCSeg's Figure 6)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from medssl.metrics.table import find_metric
from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import looks, new_figure, plain


def swept_settings(settings: list[str]) -> dict[str, str]:
    """Of settings named ``METHOD KEY=VALUE``, the part ``KEY=VALUE``; others are left out."""
    return {name: name.rsplit(" ", 1)[-1] for name in settings if "=" in name.rsplit(" ", 1)[-1]}


def sensitivity_radar(summary: pd.DataFrame, *, metric: str) -> Figure | None:
    """An axis for every value, a ring for median and best run of best and last checkpoint.

    Rings that are round mean that the value does not matter. The scale does not begin at 0, since
    differences are what is looked for; it is printed.

    Args:
        summary: of :func:`medssl.protocol.analysis.summary.summarize`, of one data set and labelled count.
        metric: its name.

    Returns:
        None with fewer than three values.
    """
    rows = summary[summary["metric"] == metric]
    values = swept_settings(list(dict.fromkeys(rows["method"])))
    if len(values) < 3:
        return None
    figure, (flat,) = new_figure(6.4, 5.2)
    place = flat.get_subplotspec()
    assert place is not None
    flat.remove()
    axis = figure.add_subplot(place, projection="polar")
    assert isinstance(axis, PolarAxes)
    angles = np.linspace(0, 2 * np.pi, len(values), endpoint=False)
    closed = np.append(angles, angles[0])
    rings = {
        f"{checkpoint}, {title}": rows[rows["checkpoint"] == checkpoint].set_index("method")[statistic]
        for checkpoint in ("best", "last")
        for statistic, title in (("median", "median"), ("best_run", "best run"))
    }
    everything = []
    for (name, ring), look in zip(rings.items(), looks(rings).values(), strict=True):
        radii = ring.reindex(list(values)).to_numpy(float)
        if np.isnan(radii).all():
            continue
        everything += radii[~np.isnan(radii)].tolist()
        axis.plot(closed, np.append(radii, radii[0]), color=look.color, marker=look.marker, ms=4, label=name)
    low, high = min(everything), max(everything)
    pad = max(0.15 * (high - low), 0.005)
    axis.set_rlim(low - 2 * pad, high + pad)
    axis.set_xticks(angles, [plain(value) for value in values.values()], fontsize=9)
    axis.set_theta_offset(np.pi / 2)
    axis.set_theta_direction(-1)
    axis.tick_params(axis="y", labelsize=7)
    axis.set_title(find_metric(metric).title, pad=16)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _draw(source: FigureSource) -> Figure | None:
    return sensitivity_radar(source.frames["summary"], metric=source.metric)


SENSITIVITY = ReportFigure(
    "sensitivity", "Sensitivity to a hyperparameter. The scale does not begin at 0.", _draw
)
