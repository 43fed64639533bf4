"""The robustness of models as files: a table, the same table to read, and the radar."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl.common.files import write_csv, write_text
from medssl.evaluation.scan_robustness import CLEAN, Cell, robustness_rows
from medssl.reports.robustness_figure import write_radar


def write_robustness(out: str | Path, models: Mapping[str, Mapping[Cell, Mapping[str, float]]]) -> str:
    """Write ``robustness.csv``, ``robustness.md`` and, where anything was corrupted, ``radar.png``.

    Args:
        out: the folder.
        models: by name, what :func:`medssl.evaluation.scan_robustness.measure_robustness` found.

    Returns:
        The table as Markdown.
    """
    out = Path(out)
    rows = [row for name, cells in models.items() for row in robustness_rows(name, cells)]
    write_csv(out / "robustness.csv", rows)
    table = markdown(rows)
    write_text(out / "robustness.md", table)
    if any(cell != CLEAN for cells in models.values() for cell in cells):
        write_radar(out / "radar.png", models)
    return table


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown: every value with its difference to clean in brackets."""
    measures = [key for key in rows[0] if f"{key} - clean" in rows[0]]
    table = [["model", "corruption", "severity", *measures]]
    for row in rows:
        cells = [f"{row[m]:.3f}" for m in measures]
        if row["corruption"] != "clean":
            pairs = zip(cells, measures, strict=True)
            cells = [f"{cell} ({row[f'{m} - clean']:+.3f})" for cell, m in pairs]
        table.append([str(row["model"]), str(row["corruption"]), str(row["severity"]), *cells])
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    aligned = ([f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)] for line in table)
    return "".join("| " + " | ".join(cells) + " |\n" for cells in aligned)
