"""The robustness of models as files: a table, the same table to read, and the radar."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl.common.files import write_text
from medssl.evaluation.scan_robustness import CLEAN, Cell, robustness_rows
from medssl.inference.checkpoints import model_record
from medssl.reports.robustness_figure import write_radar


def robustness_identity(
    checkpoint: str | Path,
    cases: Sequence[str],
    *,
    seed: int,
    margin: float | None,
    stride: Sequence[int],
    amp: str,
) -> dict[str, Any]:
    """What decides the numbers of a model on corrupted scans, as plain values.

    Args:
        checkpoint: file of the model, known by its SHA-256.
        cases: names of the cases.
        seed: of the corruptions.
        margin: mm around prediction and reference in which reliability is measured; None for the whole scan.
        stride: voxels between two windows.
        amp: precision of the network.
    """
    return {
        "model": model_record([checkpoint])[0]["sha256"],
        "cases": list(cases),
        "seed": seed,
        "margin": margin,
        "stride": list(stride),
        "amp": amp,
    }


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
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "robustness.csv", text.getvalue())
    table = markdown(rows)
    write_text(out / "robustness.md", table)
    if any(cell != CLEAN for cells in models.values() for cell in cells):
        write_radar(out / "radar.png", models)
    return table


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown: every value with its difference to clean in brackets."""
    measures = [key for key in rows[0] if f"{key} - clean" in rows[0]]
    lines = ["| model | corruption | severity | " + " | ".join(measures) + " |"]
    lines.append("| " + " | ".join(["---"] * (3 + len(measures))) + " |")
    for row in rows:
        cells = [f"{row[m]:.3f}" for m in measures]
        if row["corruption"] != "clean":
            pairs = zip(cells, measures, strict=True)
            cells = [f"{cell} ({row[f'{m} - clean']:+.3f})" for cell, m in pairs]
        lines.append(
            f"| {row['model']} | {row['corruption']} | {row['severity']} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"
