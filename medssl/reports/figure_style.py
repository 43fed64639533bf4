"""One look for all figures of a report."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medssl.common.files import atomic_path

# Okabe and Ito's colours without the yellow, which vanishes on white, and a brown.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#6b7280"

_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4b5563",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    # The same figure twice is the same file twice.
    "svg.hashsalt": "medssl",
}


class Look(NamedTuple):
    """How a setting is drawn, in every figure alike; colour is never the only cue."""

    color: str
    marker: str
    line: str


def looks(settings: Iterable[str]) -> dict[str, Look]:
    """A look for each setting, in their order; beyond eight, colours come again with broken lines."""
    lines = ("-", "--", ":", "-.")
    return {
        name: Look(
            COLORS[index % len(COLORS)],
            MARKERS[index % len(MARKERS)],
            lines[index // len(COLORS) % len(lines)],
        )
        for index, name in enumerate(settings)
    }


def plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of some inches with its axes, row by row."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, list(axes.ravel())


def legend(figure: Figure, shown: dict[str, Look], *, columns: int = 4) -> None:
    """Names of the settings below the axes."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle=look.line, label=plain(name))
        for name, look in shown.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=9,
    )


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write ``stem.png`` (150 dpi) and ``stem.svg``; the same figure gives the same bytes.

    Returns:
        Both files.
    """
    files = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Letters that the font lacks, in the name of a setting, are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        with atomic_path(files[0]) as temporary:
            figure.savefig(temporary, dpi=150)
        with atomic_path(files[1]) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
    return files
