"""``index.html`` of a report: one file that opens from disk, light or dark as the reader's screen is."""

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.common.files import write_text
from medssl.protocol.analysis.store import POLICY
from medssl.protocol.report.build import CHECKPOINTS, COST, GROUPS, UNSTATED, Place, Report, caption
from medssl.protocol.report.text_tables import (
    FEW_SEEDS,
    Row,
    footnotes,
    heading,
    number,
    records,
    reference,
)
from medssl.reports.figure_style import TITLES
from medssl.review.worklist_page import SORTING

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #f6f7f9; --card: #fff; --line: #d5d9df;
  --head: #eef1f4; --hover: #f2f8fc; --warn: #7a3b00; --warnback: #fff2df; --soft: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #14171b; --card: #1c2026;
  --line: #363c45; --head: #262b33; --hover: #232a33; --warn: #ffcf99; --warnback: #3a2a14;
  --soft: #a0a8b4; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1280px; padding: 1.2rem;
  color: var(--text); background: var(--back); }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } p { margin: .3rem 0; max-width: 62rem; }
.scroll { overflow-x: auto; margin: .4rem 0 1rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { background: var(--head); font-weight: 600; } tr:last-child td { border-bottom: 0; }
th.text, td.text { text-align: left; } td.wrap { white-space: normal; min-width: 24rem; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #0072b2; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
tr:hover td { background: var(--hover); }
tr.published td { color: var(--soft); font-style: italic; }
.best { font-weight: 700; } .second { text-decoration: underline; text-underline-offset: 3px; }
.mark { background: var(--warnback); color: var(--warn); border-radius: 3px; padding: 0 .35rem;
  margin-left: .4rem; font-size: .82rem; }
.soft { color: var(--soft); } figure { margin: 1rem 0 1.6rem; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { color: var(--soft); max-width: 62rem; margin-top: .3rem; }
summary { cursor: pointer; margin: .6rem 0; }
.matrix td { text-align: center; line-height: 1.25; } .matrix small { color: var(--soft); }
.matrix td.text { text-align: left; white-space: normal; }
.matrix th { white-space: normal; text-align: center; }
"""

_DEFINITIONS = (
    ("run", "mean over the cases of the mean over their classes; statistics are over the runs of a setting"),
    ("median / best run", "over runs; the best run is the largest Dice and the smallest distance or error"),
    ("IQM", "inter-quartile mean over runs, with its 95% bootstrap interval (runs and cases drawn again)"),
    ("gap", "best minus last of the same run, median over runs: what choosing the moment was worth"),
    ("P(A > B)", "share of pairs of runs in which A is the better one, ties a half"),
    (
        "p",
        "two-sided Wilcoxon signed-rank test over cases (means over seeds), with Holm's correction; "
        "nothing is tested over seeds",
    ),
)


def write_page(report: Report, path: Path) -> None:
    """Write the page of a report, whose figures are saved beside it already."""
    finished = sum(run.finished for run in report.runs)
    names = ", ".join(place.name for place in report.places)
    parts = [f"<h1>{_text(names)}</h1>"]
    parts.append(
        f"<p>{finished} finished runs of {len({run.setting for run in report.runs})} settings, scored on the "
        f"{report.subset} cases. Bold: best median; underlined: second.</p>"
    )
    parts += _cautions(report.frames["cautions"])
    for place in report.places:
        parts += _headline(place)
    for place in report.places:
        parts += _details(report, place, path.parent / "figures")
    parts += ["<h2>What the numbers are</h2>", _definitions(), _policies(report)]
    parts += ["<h2>Runs</h2>", _runs(report.frames["runs"])]
    body = "\n".join(parts)
    write_text(
        path,
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{_text(names)}</title><style>{_STYLE}</style></head><body>
{body}
<script>{SORTING}</script></body></html>
""",
    )


def _headline(place: Place) -> list[str]:
    """The tables that a paper would print."""
    parts = [f"<h2>{_text(place.name)}: the tables</h2>"]
    for group, metrics in GROUPS.items():
        for checkpoint in (*CHECKPOINTS, UNSTATED):
            rows = place.tables.get((checkpoint, group))
            if rows:
                parts.append(f"<h3>{_text(caption(place, checkpoint, group).split(': ', 1)[1])}</h3>")
                parts.append(_headline_table(rows, metrics, place.unit))
    return parts


def _headline_table(rows: Sequence[Row], metrics: Sequence[str], unit: str) -> str:
    heads = ["setting", *(heading(metric, unit) for metric in metrics)]
    lines, numbers = [], footnotes(rows)
    for row in rows:
        mark = f'<span class="mark">{_text(row.remark)}</span>' if row.remark and not row.published else ""
        name = f"published: {row.name} ({row.remark})" if row.published else row.name
        name += reference(row, numbers)
        cells = [f'<td class="text wrap" data-value="{_text(row.name)}">{_text(name)}{mark}</td>']
        for metric in metrics:
            text = row.cells.get(metric, "\N{EN DASH}")
            value = text.split(" / ")[0].replace("\N{EN DASH}", "")
            kind = row.marks.get(metric, "")
            cells.append(f'<td data-value="{value}"><span class="{kind}">{text}</span></td>')
        lines.append(f"<tr{' class=published' if row.published else ''}>{''.join(cells)}</tr>")
    notes = "<br>".join(f"[{index}] {_text(note)}" for note, index in numbers.items())
    return _table(heads, lines) + (f'<p class="soft">{notes}</p>' if notes else "")


def _cautions(cautions: pd.DataFrame) -> list[str]:
    parts = ["<h2>Before you believe it</h2>"]
    if cautions.empty:
        return [*parts, "<p>Nothing found that a reader must be warned of.</p>"]
    lines = []
    for row in records(cautions):
        where = f"{row['dataset']}, {row['labeled']}"
        cells = [where, row["setting"] or "all", row["kind"]]
        texts = "".join(f'<td class="text">{_text(str(cell))}</td>' for cell in cells)
        lines.append(f'<tr>{texts}<td class="text wrap">{_text(row["text"])}</td></tr>')
    return [*parts, _table(["place", "setting", "caution", "what"], lines, text=4)]


def _details(report: Report, place: Place, figures: Path) -> list[str]:
    parts = [f"<h2>{_text(place.name)}: {_text(TITLES.get(report.metric, report.metric))} in detail</h2>"]
    frames = {name: _of(frame, place) for name, frame in report.frames.items()}
    parts.append(_summary(frames["summary"], place, report.metric))
    if len(place.settings) > 1:
        for checkpoint in CHECKPOINTS:
            rows = frames["comparisons"]
            rows = rows[(rows["metric"] == report.metric) & (rows["checkpoint"] == checkpoint)]
            if len(rows):
                parts.append(f"<h3>row minus column, {checkpoint} checkpoint</h3>")
                parts.append(_matrix(rows, place, report.metric))
            if len(rows) and checkpoint == CHECKPOINTS[0]:
                parts.append(
                    '<p class="soft">Difference, its 95% interval over runs and cases, P(row &gt; column), '
                    "and p over cases. Bold where p &lt; 0.05 and the interval holds no 0.</p>"
                )
        parts += ["<h3>would the same settings win again?</h3>", _ranks(frames["ranks"], report.metric)]
    for name, (_, words) in place.figures.items():
        alt = _text(words)
        picture = base64.b64encode((figures / f"{place.stem}-{name}.png").read_bytes()).decode()
        parts.append(
            f'<figure id="{_text(place.stem)}-{name}"><img alt="{alt}" '
            f'src="data:image/png;base64,{picture}"><figcaption>{alt}</figcaption></figure>'
        )
    parts += ["<h3>cost, median over runs</h3>", _cost(frames["runs"], place)]
    return parts


def _summary(summary: pd.DataFrame, place: Place, metric: str) -> str:
    here = {(r["method"], r["checkpoint"]): r for r in records(summary[summary["metric"] == metric])}
    heads = [
        "setting",
        "checkpoint",
        "runs",
        "median",
        "maximum",
        "minimum",
        "mean",
        "std",
        "IQM",
        "95%",
        "gap",
    ]
    lines = []
    for setting in place.settings:
        for checkpoint in CHECKPOINTS:
            row = here.get((setting, checkpoint))
            if row is None:
                continue
            few = f'<span class="mark">{row["runs"]} runs</span>' if row["runs"] < FEW_SEEDS else ""
            oracle = checkpoint == "best" and "test-oracle" in str(row["selection"])
            few += '<span class="mark">oracle</span>' if oracle else ""
            cells = [
                f'<td class="text">{_text(setting)}{few}</td><td>{checkpoint}</td><td>{row["runs"]}</td>'
            ]
            for name in ("median", "maximum", "minimum", "mean", "std", "iqm"):
                cells.append(_number(metric, row[name]))
            low, high = (number(metric, row[name]) for name in ("iqm_low", "iqm_high"))
            cells.append(f'<td class="soft">{low} to {high}</td>')
            cells.append(_number(metric, row["best_last_gap"]) if checkpoint == "best" else "<td></td>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<h3>{_text(heading(metric, place.unit))}</h3>" + _table(heads, lines)


def _matrix(rows: pd.DataFrame, place: Place, metric: str) -> str:
    """Difference, its interval, P(row > column) and p of every pair that was compared."""
    found: dict[tuple[str, str], tuple[float, float, float, float, float]] = {}
    for row in records(rows):
        difference, low, high = (float(row[name]) for name in ("difference", "low", "high"))
        found[row["a"], row["b"]] = (difference, low, high, row["probability"], row["p_holm"])
        found[row["b"], row["a"]] = (-difference, -high, -low, 1 - row["probability"], row["p_holm"])
    columns = [name for name in place.settings if any((other, name) in found for other in place.settings)]
    if len({row["b"] for row in records(rows)}) == 1:  # against a baseline only
        columns = [str(rows["b"].iloc[0])]
    lines = []
    for a in place.settings:
        cells = [f'<td class="text">{_text(a)}</td>']
        for b in columns:
            if (a, b) not in found:
                cells.append("<td></td>")
                continue
            difference, low, high, probability, p = found[a, b]
            strong = ' class="best"' if p < 0.05 and (low > 0 or high < 0) else ""
            value, least, most = (number(metric, end) for end in (difference, low, high))
            sign = "+" if difference > 0 else ""
            cells.append(
                f"<td><span{strong}>{sign}{value}</span><br><small>{least} to {most}<br>"
                f"P {probability:.2f}, p {_p(p)}</small></td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(["", *columns], lines, kind="matrix", sortable=False)


def _ranks(ranks: pd.DataFrame, metric: str) -> str:
    lines = []
    for row in records(ranks[ranks["metric"] == metric]):
        cells = [
            f'<td class="text">{_text(row["checkpoint"])}</td><td class="text">{_text(row["method"])}</td>'
        ]
        cells.append(f"<td>{row['rank']:g}</td><td>{row['mean_rank']:.2f}</td>")
        cells.append(f'<td class="soft">{row["rank_low"]:g} to {row["rank_high"]:g}</td>')
        cells.append(f"<td>{row['first']:.0%}</td><td>{row['same_ranking']:.0%}</td>")
        cells.append(f"<td>{row['kendall_tau']:.2f}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["checkpoint", "setting", "rank", "mean rank", "95%", "first", "same order", "Kendall's tau"]
    return _table(heads, lines, text=2)


def _cost(runs: pd.DataFrame, place: Place) -> str:
    columns = [*COST, "seconds_per_case"]
    heads = ["setting", "parameters (M)", "deployed (M)", "s a step", "peak memory (MiB)", "s a case", "on"]
    lines = []
    for setting in place.settings:
        mine = runs[(runs["setting"] == setting) & (runs["status"] == "finished")]
        values = [float(pd.to_numeric(mine[name]).median()) for name in columns]
        shown = [values[0] / 1e6, values[1] / 1e6, *values[2:]]
        digits = (2, 2, 3, 0, 2)
        cells = [
            f'<td data-value="">{chr(0x2013)}</td>'
            if math.isnan(v)
            else f'<td data-value="{v}">{v:,.{d}f}</td>'
            for v, d in zip(shown, digits, strict=True)
        ]
        where = sorted(
            {f"{row['device']}, {row['threads']} threads" for row in records(mine) if row["device"]}
        )
        place_of = f'<td class="text">{_text("; ".join(where))}</td>'
        lines.append(f'<tr><td class="text">{_text(setting)}</td>{"".join(cells)}{place_of}</tr>')
    return _table(heads, lines)


def _definitions() -> str:
    lines = [
        f'<tr><td class="text">{_text(a)}</td><td class="text wrap">{_text(b)}</td></tr>'
        for a, b in _DEFINITIONS
    ]
    return _table(["word", "meaning"], lines, text=2, sortable=False)


def _policies(report: Report) -> str:
    found = {}
    for run in report.runs:
        for policy in run.policies.values():
            found[run.dataset] = {name: policy.get(name) for name in POLICY}
    lines = []
    for dataset, policy in found.items():
        for name, value in policy.items():
            stated = "not stated" if value is None else str(value)
            title = name.replace("_", " ")
            lines.append(
                f'<tr><td class="text">{_text(dataset)}</td><td class="text">{_text(title)}</td>'
                f'<td class="text wrap">{_text(stated)}</td></tr>'
            )
    return "<h3>policies of the metrics</h3>" + _table(["data set", "policy", "value"], lines, text=3)


def _runs(runs: pd.DataFrame) -> str:
    columns = ["dataset", "labeled", "setting", "seed", "status", "selection", "git_commit"]
    columns += ["medssl", "torch", "monai", "split_sha256", "test_fingerprint", "folder"]
    lines = []
    for row in records(runs):
        cells = []
        for name in columns:
            text = "" if row[name] is None or row[name] != row[name] else str(row[name])
            short = text[:10] + ("-dirty" if text.endswith("-dirty") else "") if len(text) >= 40 else text
            cells.append(f'<td class="text" title="{_text(text)}">{_text(short)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<details><summary>{len(runs)} runs</summary>{_table(columns, lines, text=len(columns))}</details>"
    )


def _table(
    heads: Sequence[str], lines: Sequence[str], *, text: int = 1, kind: str = "", sortable: bool = True
) -> str:
    """A table; the first ``text`` columns are aligned to the left."""
    cells = []
    for index, head in enumerate(heads):
        words = f"<button>{_text(head)}</button>" if sortable else _text(head)
        cells.append(f"<th{' class=text' if index < text else ''}>{words}</th>")
    body = "\n".join(lines)
    name = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll"><table{name}><thead><tr>{"".join(cells)}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _number(metric: str, value: Any) -> str:
    missing = value is None or value != value
    return (
        f'<td data-value="{"" if missing else value}">{number(metric, math.nan if missing else value)}</td>'
    )


def _p(value: float) -> str:
    if math.isnan(value):
        return "\N{EN DASH}"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _of(frame: pd.DataFrame, place: Place) -> pd.DataFrame:
    return frame[(frame["dataset"] == place.dataset) & (frame["labeled"] == place.labeled)]


def _text(text: str) -> str:
    return html.escape(text)
