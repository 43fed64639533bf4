"""How much luck there is in a run: every run of every setting, best and last (TCSeg's Figure 5)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medssl.metrics.table import find_metric
from medssl.protocol.analysis.summary import run_values
from medssl.protocol.report.figures.base import FigureSource, ReportFigure
from medssl.reports.figure_style import Look, legend, new_figure, plain

OFFSET = {"best": -0.18, "last": 0.18}


def run_to_run(values: pd.DataFrame, shown: dict[str, Look], *, metric: str) -> Figure:
    """Left: the last checkpoint seed by seed. Right: best (open) beside last (full), a line for each run.

    The bar is the median over runs, the box its quartiles.

    Args:
        values: of :func:`medssl.protocol.analysis.summary.run_values`, for one data set, count and metric.
        shown: looks by setting, in the order of drawing.
        metric: its name.
    """
    width = 4.2 + max(3.4, 1.05 * len(shown))
    figure, (left, right) = new_figure(width, 4.4 + 0.22 * np.ceil(len(shown) / 4), 1, 2, sharey=True)
    seeds = sorted(values["seed"].unique())
    for name, look in shown.items():
        own = values[values["method"] == name]
        last = own[own["checkpoint"] == "last"].set_index("seed")["value"].reindex(seeds)
        left.plot(range(len(seeds)), last, color=look.color, marker=look.marker, linestyle=look.line)
    left.set_xticks(range(len(seeds)), [str(seed) for seed in seeds])
    left.set_xlim(-0.4, len(seeds) - 0.6)
    left.set_xlabel("seed")
    left.set_ylabel(find_metric(metric).title)
    left.set_title("last checkpoint, run by run")
    for place, (name, look) in enumerate(shown.items()):
        own = values[values["method"] == name]
        by_seed = own.pivot(index="seed", columns="checkpoint", values="value")
        if {"best", "last"} <= set(by_seed):
            for _, row in by_seed.iterrows():
                ends = [place + OFFSET["best"], place + OFFSET["last"]]
                right.plot(ends, [row["best"], row["last"]], color=look.color, linewidth=0.8, alpha=0.55)
        for checkpoint, offset in OFFSET.items():
            drawn = by_seed[checkpoint].dropna().to_numpy() if checkpoint in by_seed else np.empty(0)
            if not len(drawn):
                continue
            center = place + offset
            low, middle, high = np.quantile(drawn, [0.25, 0.5, 0.75])
            right.bar(center, high - low, 0.22, bottom=low, color=look.color, alpha=0.18, linewidth=0)
            right.plot([center - 0.13, center + 0.13], [middle, middle], color=look.color, linewidth=2.4)
            right.plot(
                np.full(len(drawn), center),
                drawn,
                linestyle="",
                marker=look.marker,
                color=look.color,
                markerfacecolor="white" if checkpoint == "best" else look.color,
                markersize=5,
            )
    for axis in (left, right):
        axis.use_sticky_edges = False  # of the boxes, which would cut the outermost marks
        axis.margins(y=0.06)
    right.set_xticks(range(len(shown)), [_wrapped(plain(name)) for name in shown], fontsize=8)
    right.set_xlim(-0.6, len(shown) - 0.4)
    right.grid(axis="x", visible=False)
    right.set_title("best (open) beside last (full)")
    right.tick_params(axis="x", length=0)
    legend(figure, shown)
    return figure


def _wrapped(name: str) -> str:
    """A long name over several lines, broken at blanks."""
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + len(word) > 11:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _draw(source: FigureSource) -> Figure:
    scores = source.frames["scores"]
    values = run_values(scores[scores["metric"] == source.metric])
    return run_to_run(values, source.looks, metric=source.metric)


RUN_TO_RUN = ReportFigure(
    "runs",
    "Every run: the last checkpoint seed by seed, and best beside last. Where best lies above last, "
    "part of the gain is the choice of the moment.",
    _draw,
)
