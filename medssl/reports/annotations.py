"""The report of an annotator: a table, and a figure of what calibration promised and what its labels gain."""

from pathlib import Path

import numpy as np

from medssl.common.files import write_csv, write_text
from medssl.evaluation.annotations import COLUMNS, MeasuredAnnotations
from medssl.reports.figure_style import COLORS, GREY, new_figure, plain, save

HEIGHT_OF_CLASS, HEIGHT_OF_REST = 0.32, 1.9
"""Inches."""


def write_annotation_report(folder: str | Path, measured: MeasuredAnnotations) -> list[Path]:
    """Write ``annotator.csv``, ``annotator.txt`` and ``annotator.png`` with ``.svg``.

    Args:
        folder: made where it is missing; an earlier report there is replaced.
        measured: the numbers.

    Returns:
        The files.
    """
    folder = Path(folder)
    table, text = folder / "annotator.csv", folder / "annotator.txt"
    rows = [{key: _rounded(value) for key, value in row.items()} for row in measured.rows()]
    write_csv(table, rows, columns=list(COLUMNS))
    write_text(text, measured.text() + "\n")
    return [table, text, *_figure(folder / "annotator", measured)]


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return "" if np.isnan(value) else round(value, 5)
    return value


def _figure(stem: Path, measured: MeasuredAnnotations) -> tuple[Path, Path]:
    """Coverage, precision and recall, a line a class; raw labels hollow, calibrated ones filled."""
    rows = measured.rows()
    height = HEIGHT_OF_REST + HEIGHT_OF_CLASS * len(rows)
    figure, panels = new_figure(10.0, height, 1, 4, sharey=True)
    places = np.arange(len(rows))
    nominal, coverage = 1 - measured.alpha, [row["coverage"] for row in rows]
    panels[0].axvline(nominal, color=GREY, linestyle="--", linewidth=1.2)
    panels[0].plot(coverage, places, "o", color=COLORS[0])
    panels[0].annotate(
        f"promised {nominal:.4g}",
        (nominal, 1.01),
        xycoords=("data", "axes fraction"),
        ha="right",
        va="bottom",
        color=GREY,
    )
    panels[0].set_xlabel("coverage of the sets")
    for axes, key, color in ((panels[1], "precision", COLORS[1]), (panels[2], "recall", COLORS[2])):
        raw, calibrated = ([row[name] for row in rows] for name in (f"raw_{key}", key))
        axes.hlines(places, raw, calibrated, color=color, linewidth=1.2)
        axes.plot(raw, places, "o", color=color, markerfacecolor="white", label="raw")
        axes.plot(calibrated, places, "o", color=color, label="calibrated")
        axes.set_xlabel(f"{key} of the labels")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    panels[3].barh(places, [row["kept"] for row in rows], color=COLORS[5], height=0.6)
    panels[3].set_xlabel("share that keeps a label")
    for axes in panels:
        axes.set_xlim(-0.03, 1.03)
    panels[0].set_yticks(places, [plain(str(row["name"])) for row in rows])
    panels[0].get_yticklabels()[-1].set_fontweight("bold")
    panels[0].set_ylim(len(rows) - 0.5, -0.5)  # the first class above
    figure.suptitle(plain(measured.about().replace(": ", ":\n")), fontsize=9)
    return save(figure, stem)
