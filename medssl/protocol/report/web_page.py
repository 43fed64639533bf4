"""``index.html`` of a report: one file that opens from disk, light or dark as the reader's screen is."""

import base64
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.common.files import write_text
from medssl.metrics.table import Metric, find_metric
from medssl.protocol.analysis.cautions import ENOUGH_SEEDS
from medssl.protocol.analysis.store import POLICY
from medssl.protocol.report.contents import CHECKPOINTS, COST, UNSTATED, Place, Report
from medssl.protocol.report.rows import Row, footnotes, records, reference
from medssl.reports.html import page, table, text_cell

_DEFINITIONS = {
    "run": "mean over the cases of the mean over their classes; statistics are over the runs of a setting",
    "median / best run": "over runs; the best run is the largest Dice and the smallest distance or error",
    "IQM": "inter-quartile mean over runs, with its 95% bootstrap interval (runs and cases drawn again)",
    "gap": "best minus last of the same run, median over runs: what choosing the moment was worth",
    "P(A > B)": "share of pairs of runs in which A is the better one, ties a half",
    "p": "two-sided Wilcoxon signed-rank test over cases (means over seeds), with Holm's correction; "
    "nothing is tested over seeds",
}
_OF_IMAGES = {
    "run": "pooled over the pixels of all images, which is no mean over images; statistics are over the runs "
    "of a setting, and intervals draw runs and images again and pool anew",
    "median / best run": "over runs; the best run is the largest mIoU and the smallest error",
    "p": "none: a pooled number is that of no single image, so nothing is tested over images",
}


def write_page(report: Report, path: Path) -> None:
    """Write the page of a report, whose figures are saved beside it already."""
    finished = sum(run.finished for run in report.runs)
    names = ", ".join(place.name for place in report.places)
    parts = [f"<h1>{escape(names)}</h1>"]
    parts.append(
        f"<p>{finished} finished runs of {len({run.setting for run in report.runs})} settings, scored on the "
        f"{report.subset} cases. Bold: best median; underlined: second.</p>"
    )
    parts += _cautions(report.frames["cautions"])
    for place in report.places:
        parts += _headline(place)
    for place in report.places:
        parts += _details(report, place, path.parent / "figures")
    parts += ["<h2>What the numbers are</h2>", _definitions(report), _policies(report)]
    parts += ["<h2>Runs</h2>", _runs(report.frames["runs"])]
    write_text(path, page(names, "\n".join(parts)))


def _headline(place: Place) -> list[str]:
    """The tables that a paper would print."""
    parts = [f"<h2>{escape(place.name)}: the tables</h2>"]
    for title, metrics in place.columns.items():
        for checkpoint in (*CHECKPOINTS, UNSTATED):
            rows = place.tables.get((checkpoint, title))
            if rows:
                parts.append(f"<h3>{escape(place.caption(checkpoint, title).split(': ', 1)[1])}</h3>")
                parts.append(_headline_table(rows, metrics, place.unit))
    return parts


def _headline_table(rows: Sequence[Row], metrics: Sequence[Metric], unit: str) -> str:
    heads = ["setting", *(metric.heading(unit) for metric in metrics)]
    lines, numbers = [], footnotes(rows)
    for row in rows:
        mark = f'<span class="mark">{escape(row.remark)}</span>' if row.remark and not row.published else ""
        name = f"published: {row.name} ({row.remark})" if row.published else row.name
        name += reference(row, numbers)
        cells = [f'<td class="text wrap" data-value="{escape(row.name)}">{escape(name)}{mark}</td>']
        for metric in metrics:
            text = row.cells.get(metric.name, "\N{EN DASH}")
            value = text.split(" / ")[0].replace("\N{EN DASH}", "")
            kind = row.marks.get(metric.name, "")
            cells.append(f'<td data-value="{value}"><span class="{kind}">{text}</span></td>')
        lines.append(f"<tr{' class=published' if row.published else ''}>{''.join(cells)}</tr>")
    notes = "<br>".join(f"[{index}] {escape(note)}" for note, index in numbers.items())
    return table(heads, lines) + (f'<p class="soft">{notes}</p>' if notes else "")


def _cautions(cautions: pd.DataFrame) -> list[str]:
    parts = ["<h2>Before you believe it</h2>"]
    if cautions.empty:
        return [*parts, "<p>Nothing found that a reader must be warned of.</p>"]
    lines = []
    for row in records(cautions):
        where = f"{row['dataset']}, {row['labeled']}"
        cells = "".join(map(text_cell, (where, row["setting"] or "all", row["kind"])))
        lines.append(f"<tr>{cells}{text_cell(row['text'], wrap=True)}</tr>")
    return [*parts, table(["place", "setting", "caution", "what"], lines, text=4)]


def _details(report: Report, place: Place, figures: Path) -> list[str]:
    metric = find_metric(report.metric)
    cases = "images" if place.of_images else "cases"
    parts = [f"<h2>{escape(place.name)}: {escape(metric.title)} in detail</h2>"]
    frames = {name: place.rows_of(frame) for name, frame in report.frames.items()}
    parts.append(_summary(frames["summary"], place, metric))
    if len(place.settings) > 1:
        for checkpoint in CHECKPOINTS:
            rows = frames["comparisons"]
            rows = rows[(rows["metric"] == metric.name) & (rows["checkpoint"] == checkpoint)]
            if len(rows):
                parts.append(f"<h3>row minus column, {checkpoint} checkpoint</h3>")
                parts.append(_matrix(rows, place, metric))
            if len(rows) and checkpoint == CHECKPOINTS[0]:
                parts.append(
                    f'<p class="soft">Difference, its 95% interval over runs and {cases} that holds for all '
                    f"differences of the table at once, P(row &gt; column), and p over {cases}. Bold where "
                    "the interval holds no 0: that much may be claimed.</p>"
                )
        parts += ["<h3>would the same settings win again?</h3>", _ranks(frames["ranks"], metric)]
    for name, (_, words) in place.figures.items():
        alt = escape(words)
        picture = base64.b64encode((figures / f"{place.stem}-{name}.png").read_bytes()).decode()
        parts.append(
            f'<figure id="{escape(place.stem)}-{name}"><img alt="{alt}" '
            f'src="data:image/png;base64,{picture}"><figcaption>{alt}</figcaption></figure>'
        )
    parts += ["<h3>cost, median over runs</h3>", _cost(frames["runs"], place)]
    return parts


def _summary(summary: pd.DataFrame, place: Place, metric: Metric) -> str:
    rows = records(summary[summary["metric"] == metric.name])
    by_checkpoint = {(row["method"], row["checkpoint"]): row for row in rows}
    statistics = ("median", "maximum", "minimum", "mean", "std")
    heads = ["setting", "checkpoint", "runs", *statistics, "IQM", "95%", "gap"]
    lines = []
    for setting in place.settings:
        for checkpoint in CHECKPOINTS:
            row = by_checkpoint.get((setting, checkpoint))
            if row is None:
                continue
            few = f'<span class="mark">{row["runs"]} runs</span>' if row["runs"] < ENOUGH_SEEDS else ""
            oracle = checkpoint == "best" and "test-oracle" in str(row["selection"])
            few += '<span class="mark">oracle</span>' if oracle else ""
            cells = [
                f'<td class="text">{escape(setting)}{few}</td><td>{checkpoint}</td><td>{row["runs"]}</td>'
            ]
            for name in (*statistics, "iqm"):
                cells.append(_number(metric, row[name]))
            low, high = (metric.text(row[name]) for name in ("iqm_low", "iqm_high"))
            cells.append(f'<td class="soft">{low} to {high}</td>')
            cells.append(_number(metric, row["best_last_gap"]) if checkpoint == "best" else "<td></td>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<h3>{escape(metric.heading(place.unit))}</h3>" + table(heads, lines)


def _matrix(rows: pd.DataFrame, place: Place, metric: Metric) -> str:
    """Difference, its interval, P(row > column) and p of every pair that was compared."""
    pairs: dict[tuple[str, str], tuple[float, float, float, float, float]] = {}
    for row in records(rows):
        ends = ("difference", "simultaneous_low", "simultaneous_high")
        difference, low, high = (float(row[name]) for name in ends)
        pairs[row["a"], row["b"]] = (difference, low, high, row["probability"], row["p_holm"])
        pairs[row["b"], row["a"]] = (-difference, -high, -low, 1 - row["probability"], row["p_holm"])
    columns = [name for name in place.settings if any((other, name) in pairs for other in place.settings)]
    if len({row["b"] for row in records(rows)}) == 1:  # against a baseline only
        columns = [str(rows["b"].iloc[0])]
    lines = []
    for a in place.settings:
        cells = [text_cell(a)]
        for b in columns:
            if (a, b) not in pairs:
                cells.append("<td></td>")
                continue
            difference, low, high, probability, p = pairs[a, b]
            strong = ' class="best"' if low > 0 or high < 0 else ""
            value, least, most = (metric.text(end) for end in (difference, low, high))
            sign = "+" if difference > 0 else ""
            chance = "\N{EN DASH}" if math.isnan(low) else f"{probability:.2f}"  # of too few runs
            cells.append(
                f"<td><span{strong}>{sign}{value}</span><br><small>{least} to {most}<br>"
                f"P {chance}, p {_p(p)}</small></td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return table(["", *columns], lines, kind="matrix", sortable=False)


def _ranks(ranks: pd.DataFrame, metric: Metric) -> str:
    lines = []
    for row in records(ranks[ranks["metric"] == metric.name]):
        cells = [text_cell(row["checkpoint"]), text_cell(row["method"])]
        cells.append(f"<td>{row['rank']:g}</td><td>{row['mean_rank']:.2f}</td>")
        cells.append(f'<td class="soft">{row["rank_low"]:g} to {row["rank_high"]:g}</td>')
        cells.append(f"<td>{row['first']:.0%}</td><td>{row['same_ranking']:.0%}</td>")
        cells.append(f"<td>{row['kendall_tau']:.2f}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["checkpoint", "setting", "rank", "mean rank", "95%", "first", "same order", "Kendall's tau"]
    return table(heads, lines, text=2)


def _cost(runs: pd.DataFrame, place: Place) -> str:
    columns = [*COST, "seconds_per_case"]
    heads = ["setting", "parameters (M)", "deployed (M)", "s a step", "peak memory (MiB)", "s a case", "on"]
    lines = []
    for setting in place.settings:
        finished = runs[(runs["setting"] == setting) & (runs["status"] == "finished")]
        values = [float(pd.to_numeric(finished[name]).median()) for name in columns]
        shown = [values[0] / 1e6, values[1] / 1e6, *values[2:]]
        digits = (2, 2, 3, 0, 2)
        cells = [
            f'<td data-value="">{chr(0x2013)}</td>'
            if math.isnan(v)
            else f'<td data-value="{v}">{v:,.{d}f}</td>'
            for v, d in zip(shown, digits, strict=True)
        ]
        where = sorted(
            {f"{row['device']}, {row['threads']} threads" for row in records(finished) if row["device"]}
        )
        lines.append(f"<tr>{text_cell(setting)}{''.join(cells)}{text_cell('; '.join(where))}</tr>")
    return table(heads, lines)


def _definitions(report: Report) -> str:
    """What the words of the page mean, and its metrics: those of the tables, and the one in detail."""
    tables = [metrics for place in report.places for metrics in place.columns.values()]
    metrics = dict.fromkeys([*(metric for table in tables for metric in table), find_metric(report.metric)])
    of_images = any(place.of_images for place in report.places)
    words = (
        _DEFINITIONS
        | (_OF_IMAGES if of_images else {})
        | {metric.title: "; ".join(filter(None, (metric.definition, metric.empty))) for metric in metrics}
    )
    lines = [f"<tr>{text_cell(word)}{text_cell(text, wrap=True)}</tr>" for word, text in words.items()]
    return table(["word", "meaning"], lines, text=2, sortable=False)


def _policies(report: Report) -> str:
    policies = {}
    for run in report.runs:
        for policy in run.policies.values():
            policies[run.dataset] = {name: policy.get(name) for name in POLICY}
    lines = []
    for dataset, policy in policies.items():
        for name, value in policy.items():
            stated = "not stated" if value is None else str(value)
            title = name.replace("_", " ")
            lines.append(f"<tr>{text_cell(dataset)}{text_cell(title)}{text_cell(stated, wrap=True)}</tr>")
    return "<h3>policies of the metrics</h3>" + table(["data set", "policy", "value"], lines, text=3)


def _runs(runs: pd.DataFrame) -> str:
    columns = ["dataset", "labeled", "setting", "seed", "status", "selection", "git_commit"]
    columns += ["medssl", "torch", "monai", "split_sha256", "test_fingerprint", "folder"]
    lines = []
    for row in records(runs):
        cells = []
        for name in columns:
            text = "" if row[name] is None or row[name] != row[name] else str(row[name])
            short = text[:10] + ("-dirty" if text.endswith("-dirty") else "") if len(text) >= 40 else text
            cells.append(f'<td class="text" title="{escape(text)}">{escape(short)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<details><summary>{len(runs)} runs</summary>{table(columns, lines, text=len(columns))}</details>"


def _number(metric: Metric, value: Any) -> str:
    missing = value is None or value != value
    return f'<td data-value="{"" if missing else value}">{metric.text(math.nan if missing else value)}</td>'


def _p(value: float) -> str:
    if math.isnan(value):
        return "\N{EN DASH}"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
