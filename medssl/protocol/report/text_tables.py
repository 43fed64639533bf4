"""Tables of a report, as Markdown and LaTeX: median and best run, best and second marked."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from medssl.protocol.analysis.bootstrap import lower_is_better
from medssl.reports.figure_style import TITLES

PERCENT = ("dice", "jaccard", "nsd")
DISTANCES = ("hausdorff95", "asd", "assd")
OVERLAP = ("dice", "jaccard", "hausdorff95", "asd")
RELIABILITY = ("ece", "p_acc_cer", "p_unc_inacc", "rss")
FEW_SEEDS = 5


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        name: the setting, or the method of a published figure.
        remark: "oracle", "n runs" and so on, for the reader's eye.
        cells: text by metric.
        marks: "best" or "second" by metric; published rows have none.
        published: whether the row is somebody else's.
        notes: what to know before comparing, for the foot of the table.
    """

    name: str
    remark: str
    cells: dict[str, str]
    marks: dict[str, str]
    published: bool = False
    notes: tuple[str, ...] = ()


def heading(metric: str, unit: str) -> str:
    """Name of a column, with its unit."""
    title = TITLES.get(metric, metric)
    if metric in PERCENT:
        return f"{title} (%)"
    return f"{title} ({unit})" if metric in DISTANCES else title


def number(metric: str, value: float) -> str:
    """A value as tables print it: percentages and distances with two decimals, others with four."""
    if math.isnan(value):
        return "\N{EN DASH}"
    if metric in PERCENT:
        return f"{100 * value:.2f}"
    return f"{value:.2f}" if metric in DISTANCES else f"{value:.4f}"


def headline(
    summary: pd.DataFrame, *, settings: Sequence[str], checkpoint: str, metrics: Sequence[str]
) -> list[Row]:
    """Median and best run of every setting, as the TCSeg paper's Table 1 prints them.

    Args:
        summary: of :func:`medssl.protocol.analysis.summary.summarize`, of one data set and labelled count.
        settings: in the order of rows.
        checkpoint: "best" or "last".
        metrics: columns.
    """
    here = {(r["method"], r["metric"]): r for r in records(summary[summary["checkpoint"] == checkpoint])}
    medians = {m: {name: r["median"] for (name, of), r in here.items() if of == m} for m in metrics}
    marks = {metric: _marked(medians[metric], metric) for metric in metrics}
    rows = []
    for setting in settings:
        found = {m: here[setting, m] for m in metrics if (setting, m) in here}
        if not found:
            continue
        first = next(iter(found.values()))
        remarks = [f"{first['runs']} runs"] if first["runs"] < FEW_SEEDS else []
        if checkpoint == "best" and "test-oracle" in str(first["selection"]):
            remarks.append("oracle")
        cells = {m: f"{number(m, row['median'])} / {number(m, row['best_run'])}" for m, row in found.items()}
        mine = {m: marks[m][setting] for m in metrics if setting in marks[m]}
        rows.append(Row(setting, ", ".join(remarks), cells, mine))
    return rows


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries by the names of its columns."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _marked(medians: dict[str, float], metric: str) -> dict[str, str]:
    """The settings with the best and the second best printed median; equal ones share a mark."""
    printed = {name: float(number(metric, m)) for name, m in medians.items() if not math.isnan(m)}
    if len(printed) < 2:
        return {}
    order = sorted(set(printed.values()), reverse=not lower_is_better(metric))
    marks = dict(zip(order, ("best", "second"), strict=False))
    return {name: marks[value] for name, value in printed.items() if value in marks}


def footnotes(rows: Sequence[Row]) -> dict[str, int]:
    """Numbers of all notes of a table, in the order in which its rows refer to them."""
    notes = dict.fromkeys(note for row in rows for note in row.notes)
    return {note: number for number, note in enumerate(notes, 1)}


def reference(row: Row, numbers: dict[str, int]) -> str:
    """Such as `` [1, 3]``: where a row's notes stand; empty for a row without."""
    cited = sorted(numbers[note] for note in row.notes)
    return f" [{', '.join(map(str, cited))}]" if cited else ""


def markdown(rows: Sequence[Row], metrics: Sequence[str], unit: str, *, caption: str) -> str:
    """A table; best bold, second in italics, published rows marked."""
    lines = [f"**{_markdown_text(caption)}**", ""]
    lines.append("| setting | " + " | ".join(_markdown_text(heading(m, unit)) for m in metrics) + " |")
    lines.append("| --- |" + " ---: |" * len(metrics))
    numbers = footnotes(rows)
    for row in rows:
        remark = f" ({_markdown_text(row.remark)})" if row.remark else ""
        name = f"published: {_markdown_text(row.name)}" if row.published else _markdown_text(row.name)
        frames = {"best": "**", "second": "*"}
        cells = []
        for metric in metrics:
            frame = frames.get(row.marks.get(metric, ""), "")
            cells.append(f"{frame}{row.cells.get(metric, chr(0x2013))}{frame}")
        lines.append(f"| {name}{remark}{reference(row, numbers)} | " + " | ".join(cells) + " |")
    for note, index in numbers.items():
        lines += ["", f"[{index}] {_markdown_text(note)}"]
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[Row], metrics: Sequence[str], unit: str, *, caption: str) -> str:
    """A table with booktabs' rules; best bold, second underlined, published rows below another rule."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_text(caption)}}}"]
    lines += [r"\begin{tabular}{l" + "r" * len(metrics) + "}", r"\toprule"]
    lines.append(" & ".join(["Setting", *(latex_text(heading(m, unit)) for m in metrics)]) + r" \\")
    lines.append(r"\midrule")
    frames = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
    numbers = footnotes(rows)
    ruled = False
    for row in rows:
        if row.published and not ruled:
            lines.append(r"\midrule")
            ruled = True
        remark = rf" \emph{{({latex_text(row.remark)})}}" if row.remark else ""
        name = latex_text(("published: " if row.published else "") + row.name)
        cells = [frames[row.marks.get(m, "")] % latex_text(row.cells.get(m, "\N{EN DASH}")) for m in metrics]
        lines.append(" & ".join([name + remark + reference(row, numbers), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize [{index}] {latex_text(note)}" for note, index in numbers.items()]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text with everything that LaTeX would take for a command made harmless."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    table |= {character: f"\\{character}" for character in "&%$#_{}"}
    table |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\N{EN DASH}": "--"}
    return "".join(table.get(character, character) for character in text)


def _markdown_text(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\|*_`<" else character for character in text)
