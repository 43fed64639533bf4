"""``index.html``: the worklist with pictures, in one file that opens from disk."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medssl.common.files import write_text
from medssl.reports.html import SORTING
from medssl.review.kinds import PageWords
from medssl.review.picture import thumbnail
from medssl.review.segments import SegmentClass

_HIDDEN = ("touches_border", "empty", "status")  # shown together as remarks

_HEADINGS = {
    "boundary_uncertainty": "boundary uncertainty",
    "mean_uncertainty": "mean uncertainty",
    "confident_disagreeing": "confident but disagreeing",
}

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1.2rem;
  color: #1b1f24; background: #f6f7f9; }
h1 { font-size: 1.35rem; margin: 0 0 .2rem; }
p { margin: .3rem 0; max-width: 75rem; }
.classes { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .6rem 0 0; padding: 0;
  list-style: none; }
.classes i { display: inline-block; width: .9rem; height: .9rem; border: 1px solid #8a9099;
  border-radius: 2px; margin-right: .35rem; vertical-align: -.1rem; }
.use { color: #7a3b00; background: #fff2df; border-left: 4px solid #e69f00; padding: .4rem .7rem; }
.promises { background: #e9f3fa; border-left: 4px solid #0072b2; padding: .4rem .7rem; margin: .6rem 0 0; }
.promises p { font-weight: 600; } .promises ul { margin: .2rem 0; padding-left: 1.2rem; max-width: 73rem; }
.scroll { overflow-x: auto; margin-top: .9rem; border: 1px solid #d5d9df; border-radius: 6px;
  background: #fff; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .45rem .6rem; text-align: right; border-bottom: 1px solid #e6e9ed; vertical-align: middle; }
th { background: #eef1f4; position: sticky; top: 0; font-weight: 600; }
th.text, td.text { text-align: left; }
td.remarks { min-width: 11rem; }
th button { all: unset; cursor: pointer; font: inherit; }
th button:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
img { display: block; width: 300px; height: auto; border-radius: 3px; background: #000; }
.pair { display: flex; gap: .4rem; } .pair img { width: 180px; }
td.words { min-width: 10rem; }
tr:hover td { background: #f2f8fc; }
.bar { display: inline-block; height: .55rem; background: #d55e00; border-radius: 2px; vertical-align: middle;
  margin-right: .4rem; }
.mark { display: inline-block; background: #fde8d8; color: #8a3800; border-radius: 3px; padding: 0 .4rem;
  margin: .1rem 0; }
a { color: #005a8f; }
"""


def write_index(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    files: Mapping[str, Mapping[str, str]],
    about: str,
    words: PageWords,
    notes: Sequence[str] = (),
    classes: Sequence[SegmentClass] = (),
) -> None:
    """Write the page.

    Args:
        path: ``index.html``.
        rows: of :func:`medssl.review.worklist.worklist_rows`.
        files: for each case its files, by what they are (``"picture"``, ``"segmentation"``...), relative to
            the page.
        about: a line on the model.
        words: what the page says and shows.
        notes: sentences on what the numbers promise and what not; the first is the heading of the others.
        classes: of the legend.
    """
    folder = Path(path).parent
    named = [k for k in (max(rows, key=lambda row: len(row)) if rows else {}) if k not in _HIDDEN]
    columns = {k: _is_text(k, rows) for k in named if any(not _is_missing(row.get(k)) for row in rows)}
    heads = ['<th class="text">review</th>']
    for column, is_text in columns.items():
        kind = ' class="text"' if is_text else ""
        sort = ' aria-sort="descending"' if column == "priority" else ""
        heading = html.escape(_HEADINGS.get(column, column.replace("_", " ")))
        heads.append(f"<th{kind}{sort}><button>{heading}</button></th>")
    heads.append('<th class="text">remarks</th>')
    body = [_row(row, columns, files.get(str(row["case"]), {}), folder, words) for row in rows]
    use = f'<p class="use">{html.escape(words.use)}</p>' if words.use else ""
    write_text(
        path,
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Review of {len(rows)} cases</title><style>{_STYLE}</style></head><body>
<h1>Review of {len(rows)} cases</h1>
<p>{html.escape(about)}</p>
<p>Sorted by review priority: uncertain cases first. Select a heading to sort by it, a picture to enlarge it.
Fill in <a href="worklist.csv">worklist.csv</a> while you review; {html.escape(words.tools)}.</p>
{_legend(classes) if words.legend else ""}{use}{_notes(notes)}
<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>
{chr(10).join(body)}
</tbody></table></div><script>{SORTING}</script></body></html>
""",
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    first, *others = (html.escape(note) for note in notes)
    items = "".join(f"<li>{note}</li>" for note in others)
    return f'<section class="promises"><p>{first}</p><ul>{items}</ul></section>'


def _legend(classes: Sequence[SegmentClass]) -> str:
    entries = (
        f'<li><i style="background:rgb{segment.color}"></i>{html.escape(segment.name)}</li>'
        for segment in classes
    )
    return f'<ul class="classes">{"".join(entries)}</ul>'


def _row(
    row: Mapping[str, Any],
    columns: Mapping[str, bool],
    files: Mapping[str, str],
    folder: Path,
    words: PageWords,
) -> str:
    case = html.escape(str(row["case"]))
    cells = ['<td class="text"></td>']
    pictures = []
    for name in words.pictures:
        if name in files:
            small = base64.b64encode(thumbnail(folder / files[name])).decode()
            pictures.append(
                f'<a href="{_link(files[name])}"><img alt="{words.alt} {case}" '
                f'src="data:image/jpeg;base64,{small}"></a>'
            )
    if pictures:
        together = "".join(pictures)
        inner = f'<div class="pair">{together}</div>' if len(pictures) > 1 else together
        cells[0] = f'<td class="text">{inner}</td>'
    for column, is_text in columns.items():
        value = row.get(column)
        if column == "case":
            links = " &middot; ".join(
                f'<a href="{_link(name)}">{html.escape(kind)}</a>' for kind, name in files.items()
            )
            cells.append(f'<td class="text" data-value="{case}"><strong>{case}</strong><br>{links}</td>')
            continue
        missing = _is_missing(value)
        if is_text:
            words_of_cell = html.escape("" if missing else str(value))
            cells.append(f'<td class="text words" data-value="{words_of_cell}">{words_of_cell}</td>')
            continue
        number = "" if missing else f"{value:.3f}" if isinstance(value, float) else str(value)
        bar = ""
        if column == "priority" and not missing:
            bar = f'<span class="bar" style="width:{4 * float(row[column]):.2f}rem"></span>'
        cells.append(f'<td data-value="{"" if missing else value}">{bar}{number or "&ndash;"}</td>')
    remarks = []
    if row.get("empty"):
        remarks.append(f"nothing predicted: {row['empty']}")
    if row.get("touches_border"):
        remarks.append(f"reaches the border of the scan: {row['touches_border']}")
    if str(row.get("status", "")).startswith("failed"):
        remarks.append(str(row["status"]))
    marks = "<br>".join(f'<span class="mark">{html.escape(text)}</span>' for text in remarks)
    cells.append(f'<td class="text remarks">{marks}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _is_text(column: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(isinstance(row.get(column), str) for row in rows)


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _link(name: str) -> str:
    """A file's name as the address of a link: a ``#`` or ``?`` in it is part of the name."""
    return html.escape(quote(name))
