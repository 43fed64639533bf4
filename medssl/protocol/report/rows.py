"""Rows of a report's tables: own settings, and what others published of the same data."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pandas as pd

from medssl.metrics.table import CASE_METRICS, CLASS_METRICS, METRICS, Metric, find_metric
from medssl.protocol.analysis.cautions import ENOUGH_SEEDS
from medssl.protocol.analysis.published import PAPERS

TABLES = {
    "overlap and distance": tuple(metric for metric in CLASS_METRICS if metric.headline),
    "reliability": tuple(metric for metric in CASE_METRICS if metric.headline),
}
"""The metrics of each table that a paper would print."""

TABLES_OF_IMAGES = {
    "accuracy": (find_metric("miou"),),
    "reliability": tuple(
        metric
        for metric in METRICS
        if metric in TABLES["reliability"] or metric.name.endswith("_landgraf2025")
    ),
}
"""The same for images; reliability under both protocols, since published numbers follow the other one."""

_SHOWN = {
    ("median", "maximum"): "median / maximum",
    ("mean", "std"): "mean / std",
    ("value",): "statistic not stated",
}


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


def headline(
    summary: pd.DataFrame, *, settings: Sequence[str], checkpoint: str, metrics: Sequence[Metric]
) -> list[Row]:
    """Median and best run of every setting, as the TCSeg paper's Table 1 prints them.

    A metric that only some runs of a setting have is a gap: its median would be over other runs than its
    neighbours'.

    Args:
        summary: of :func:`medssl.protocol.analysis.summary.summarize`, of one data set and labelled count.
        settings: in the order of rows.
        checkpoint: "best" or "last".
        metrics: columns.
    """
    of_checkpoint = summary[summary["checkpoint"] == checkpoint]
    most_runs = of_checkpoint.groupby("method")["runs"].transform("max")
    summaries = records(of_checkpoint[of_checkpoint["runs"] == most_runs])
    marks = {metric.name: _marked(summaries, metric) for metric in metrics}
    rows = []
    for setting in settings:
        measured = {row["metric"]: row for row in summaries if row["method"] == setting}
        shown = {metric: measured[metric.name] for metric in metrics if metric.name in measured}
        if not shown:
            continue
        first = next(iter(shown.values()))
        remarks = [f"{first['runs']} runs"] if first["runs"] < ENOUGH_SEEDS else []
        if checkpoint == "best" and "test-oracle" in str(first["selection"]):
            remarks.append("oracle")
        cells = {m.name: f"{m.text(row['median'])} / {m.text(row['best_run'])}" for m, row in shown.items()}
        own_marks = {name: marked[setting] for name, marked in marks.items() if setting in marked}
        rows.append(Row(setting, ", ".join(remarks), cells, own_marks))
    return rows


def _marked(summaries: Sequence[dict[str, Any]], metric: Metric) -> dict[str, str]:
    """The settings with the best and the second best printed median; equal ones share a mark."""
    medians = {row["method"]: row["median"] for row in summaries if row["metric"] == metric.name}
    printed = {name: float(metric.text(m)) for name, m in medians.items() if not math.isnan(m)}
    if len(printed) < 2:
        return {}
    order = sorted(set(printed.values()), reverse=not metric.lower_is_better)
    marks = dict(zip(order, ("best", "second"), strict=False))
    return {name: marks[value] for name, value in printed.items() if value in marks}


def published_rows(
    figures: pd.DataFrame, *, checkpoint: str, metrics: Sequence[Metric], unit: str
) -> list[Row]:
    """Rows of a table, as printed, each with its source and the statistic that it shows.

    What a source prints in several of its tables is one row that names them all. Distances stand only where
    the own ones have their unit.

    Args:
        figures: of :func:`medssl.protocol.analysis.published.published_figures`, of one data set and
            labelled count.
        checkpoint: "best", "last" or, for figures whose checkpoint is not stated, empty.
        metrics: columns.
        unit: of the own distances.
    """
    names = [metric.name for metric in metrics]
    shown = figures["metric"].isin(names) & figures["unit"].isin(["", unit])
    coincide = ["last/best"] if checkpoint else []
    usable = figures[shown & figures["checkpoint"].isin([checkpoint, *coincide])]
    rows = []
    identity = ["paper", "method", "variant", "backbone", "split"]
    for (paper, method, variant, backbone, split), group in usable.groupby(identity, sort=False):
        for statistics, title in _SHOWN.items():
            chosen = group[group["statistic"].isin(statistics)]
            if chosen.empty:
                continue
            source = ", ".join(
                [PAPERS.get(str(paper), "from memory"), *filter(None, chosen["table"].unique())]
            )
            remark = "; ".join(filter(None, [source, str(split), str(backbone), title]))
            name = str(method) if str(method).endswith(str(variant)) else f"{method} {variant}"
            cells = _cells(chosen, metrics, statistics)
            rows.append(Row(name, remark, cells, {}, published=True, notes=_notes(chosen, metrics)))
    return rows


def _cells(chosen: pd.DataFrame, metrics: Sequence[Metric], statistics: Sequence[str]) -> dict[str, str]:
    """The printed numbers by metric, an en dash where one of two is not printed.

    What a source prints as a fraction stands in a column of percentages with its digits moved.
    """
    printed = {(row["metric"], row["statistic"]): row for row in records(chosen)}

    def cell(metric: Metric, statistic: str) -> str:
        row = printed.get((metric.name, statistic))
        if row is None:
            return "\N{EN DASH}"
        is_fraction = metric.unit == "percent" and float(row["printed"]) == row["value"]
        return str(Decimal(row["printed"]).scaleb(2) if is_fraction else row["printed"])

    return {
        metric.name: " / ".join(cell(metric, statistic) for statistic in statistics)
        for metric in metrics
        if any((metric.name, statistic) in printed for statistic in statistics)
    }


def _notes(chosen: pd.DataFrame, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Every note once; one that does not hold for the whole row begins with the columns that it is about."""
    columns: dict[str, set[str]] = {}
    for row in records(chosen):
        for note in filter(None, str(row["note"]).split("; ")):
            columns.setdefault(note, set()).add(row["metric"])
    every = set(chosen["metric"])
    return tuple(
        note
        if about == every
        else ", ".join(metric.title for metric in metrics if metric.name in about) + f": {note}"
        for note, about in columns.items()
    )


def footnotes(rows: Sequence[Row]) -> dict[str, int]:
    """Numbers of all notes of a table, in the order in which its rows refer to them."""
    notes = dict.fromkeys(note for row in rows for note in row.notes)
    return {note: number for number, note in enumerate(notes, 1)}


def reference(row: Row, numbers: dict[str, int]) -> str:
    """Such as `` [1, 3]``: where a row's notes stand; empty for a row without."""
    cited = sorted(numbers[note] for note in row.notes)
    return f" [{', '.join(map(str, cited))}]" if cited else ""


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries by the names of its columns."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
